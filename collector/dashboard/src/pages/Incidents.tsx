/** What happened? Events that are one, open first, then day by day; new ones appear by themselves. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { incidentsQuery } from "../api/queries";
import type { Incident } from "../api/types";
import { Icon } from "../components/icons";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { useNow } from "../components/useNow";
import { usePageSearch } from "../components/usePageSearch";
import { className, classMeaning, shortRouter } from "../lib/events";
import { duration, plural } from "../lib/format";
import { confidenceWords, costWords, groupIncidents } from "../lib/incidents";
import { windowWords } from "../lib/time";

export function Incidents() {
  const { search, window } = usePageSearch();
  const incidents = useQuery(incidentsQuery(window));
  const filtered = Boolean(search.geography ?? search.target);
  const shown = incidents.data?.filter((one) => (!search.geography || one.countries.includes(search.geography)) && (!search.target || one.targets.includes(search.target)));
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <h1 aria-live="polite">{shown ? sentence(shown) : "Incidents"}</h1>
        <p className="fm-muted">
          Events of agents that are one: the same move, by the same provider, at the same time, {windowWords(window)}. <Link to="/events">Every event by itself</Link>
        </p>
      </div>
      <Loaded
        query={incidents}
        what="the incidents"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={8} label="incidents" />
          </div>
        }
      >
        {() =>
          shown && shown.length > 0 ? (
            groupIncidents(shown).map((group) => (
              <section key={group.title} className="fm-panel" aria-label={group.title}>
                <div className="fm-panel-head">
                  <h2>{group.title}</h2>
                  <span className="fm-muted fm-small">{plural(group.incidents.length, "incident")}</span>
                </div>
                {group.incidents.map((incident) => (
                  <IncidentItem key={incident.incident_id} incident={incident} />
                ))}
              </section>
            ))
          ) : (
            <div className="fm-panel">
              <Empty title={`No incident in the ${windowWords(window)}`}>
                <p>{filtered ? "Remove a filter chip above to see those of other places and targets." : "A path is learned for some minutes. From then on each move that is sure appears here without reloading."}</p>
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

function IncidentItem({ incident }: { incident: Incident }) {
  return (
    <article className="fm-event" data-state={incident.state} data-incident={incident.incident_id}>
      <span className="fm-event-icon" title={classMeaning(incident.class)}>
        <Icon name={incident.class} />
      </span>
      <div style={{ minWidth: 0 }}>
        <div className="fm-event-text">
          <Link to="/incidents/$id" params={{ id: incident.incident_id }}>
            {incident.text}
          </Link>
        </div>
        <div className="fm-event-facts">
          <span className="fm-badge" data-tone={incident.state === "open" ? "shift" : undefined}>
            {className(incident.class)}
            {incident.state === "open" ? " · open" : ""}
          </span>
          {(incident.from ?? incident.to) && (
            <span>
              <span className="fm-muted">{shortRouter(incident.from ?? "not seen")}</span> → <span className="fm-moved">{shortRouter(incident.to ?? "not seen")}</span>
            </span>
          )}
          <span>
            <Time ms={incident.onset_to_unix_ms} exact /> · <IncidentLasting incident={incident} />
          </span>
          <span>{plural(incident.agents_total, "agent")}</span>
          {incident.targets.length > 0 && <span>{costWords(incident.rtt_cost) ?? <span className="fm-muted">RTT cost not known</span>}</span>}
          <span>{confidenceWords(incident.confidence)}</span>
          <IncidentBadges incident={incident} />
        </div>
      </div>
    </article>
  );
}

/** What sets it apart from a plain one. */
export function IncidentBadges({ incident }: { incident: Incident }) {
  return (
    <>
      {incident.brief && (
        <span className="fm-badge" title="It lasted two minutes at most, as a path does that hunts for its way">
          brief
        </span>
      )}
      {incident.late && (
        <span className="fm-badge" title="Decided from rounds that came more than ten minutes late: nobody was told of it as new">
          told late
        </span>
      )}
      {incident.moves > 0 && <span className="fm-badge">{plural(incident.moves, "move")}</span>}
    </>
  );
}

/** How long it lasted, or has lasted so far. */
export function IncidentLasting({ incident }: { incident: Incident }) {
  const now = useNow();
  const { ended_unix_ms: ended, onset_to_unix_ms: onset } = incident;
  if (ended === null || ended === undefined) return <>for {duration(Math.floor((now - onset) / 5000) * 5000)} so far</>;
  return <>for {duration(Math.max(0, ended - onset))}</>;
}

function sentence(incidents: readonly Incident[]): string {
  const open = incidents.filter((incident) => incident.state === "open");
  const agents = open.reduce((sum, incident) => sum + incident.agents_open, 0);
  if (open.length > 0) return `${plural(open.length, "open incident")}, ${plural(agents, "agent")} affected`;
  return incidents.length > 0 ? `No open incident, ${plural(incidents.length, "closed one")}` : "No incident";
}
