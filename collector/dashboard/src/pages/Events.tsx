/** What happened? Open events first, then day by day; new ones appear by themselves. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { eventsQuery } from "../api/queries";
import type { PathEvent } from "../api/types";
import { EventItem } from "../components/EventItem";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { usePageSearch } from "../components/usePageSearch";
import { groupEvents } from "../lib/events";
import { plural } from "../lib/format";
import { windowWords } from "../lib/time";

export function Events() {
  const { search, window } = usePageSearch();
  const events = useQuery(eventsQuery(window));
  const filtered = Boolean(search.geography ?? search.target);
  const shown = events.data?.filter((event) => (!search.geography || event.country === search.geography) && (!search.target || event.target === search.target));
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <h1 aria-live="polite">{shown ? sentence(shown) : "Events"}</h1>
        <p className="fm-muted">Path shifts of single agents, {windowWords(window)}. A shift is flagged once three rounds agree.</p>
      </div>
      <Loaded
        query={events}
        what="the events"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={8} label="events" />
          </div>
        }
      >
        {() =>
          shown && shown.length > 0 ? (
            groupEvents(shown).map((group) => (
              <section key={group.title} className="fm-panel" aria-label={group.title}>
                <div className="fm-panel-head">
                  <h2>{group.title}</h2>
                  <span className="fm-muted fm-small">{plural(group.events.length, "event")}</span>
                </div>
                {group.events.map((event) => (
                  <EventItem key={event.event_id} event={event} />
                ))}
              </section>
            ))
          ) : (
            <div className="fm-panel">
              <Empty title={`No path shift in the ${windowWords(window)}`}>
                <p>
                  {filtered ? "Remove a filter chip above to see those of other places and targets." : "Paths are compared from round to round. When one moves to another metro, router or AS path, it appears here without reloading."}
                </p>
                <p>
                  <Link to="/paths">See the paths as they are now</Link>
                </p>
              </Empty>
            </div>
          )
        }
      </Loaded>
    </div>
  );
}

function sentence(events: readonly PathEvent[]): string {
  const open = events.filter((event) => event.state === "open");
  const places = new Set(open.map((event) => event.site_name));
  if (open.length > 0) return `${plural(open.length, "open event")} at ${places.size <= 3 ? [...places].join(", ") : plural(places.size, "site")}`;
  return events.length > 0 ? `No open event, ${plural(events.length, "closed one")}` : "No event";
}
