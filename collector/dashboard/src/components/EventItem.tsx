/** One event: what happened, from where to where, how long, at what cost, and why we think so. */
import { Link } from "@tanstack/react-router";

import type { PathEvent } from "../api/types";
import { className, classMeaning, endingWords, isOfPath, movement, openedAt, rttCost, timesWords } from "../lib/events";
import { duration, rtt, rttChange } from "../lib/format";
import { utc } from "../lib/time";
import { Icon } from "./icons";
import { Time } from "./Time";
import { useNow } from "./useNow";

export function EventItem({ event, open = false }: { event: PathEvent; open?: boolean }) {
  const { before, after } = movement(event);
  return (
    <article className="fm-event" data-state={event.state} data-event={event.event_id}>
      <span className="fm-event-icon" title={classMeaning(event.class)}>
        <Icon name={event.class} />
      </span>
      <div style={{ minWidth: 0 }}>
        <div className="fm-event-text">
          <Link to="/events/$id" params={{ id: event.event_id }}>
            {event.text}
          </Link>
        </div>
        <div className="fm-event-facts">
          <span className="fm-badge" data-tone={event.state === "open" ? "shift" : undefined}>
            {className(event.class)}
            {event.status === "possible" ? " · possible" : ""}
            {event.state === "open" ? " · open" : ""}
          </span>
          {isOfPath(event) && (
            <span>
              <span className="fm-muted">{before}</span> → <span className="fm-moved">{after}</span>
            </span>
          )}
          <span>
            <Time ms={openedAt(event)} exact /> · <Lasting event={event} />
          </span>
          <Times event={event} />
          {isOfPath(event) && (
            <>
              <Cost event={event} />
              <Link to="/paths" search={{ agent: event.agent_id, target: event.target }}>
                Path of {event.site_name} to {event.target}
              </Link>
            </>
          )}
        </div>
        {event.reasons.length > 0 && (
          <details open={open}>
            <summary>
              {event.reasons.length === 1 ? "1 reason" : `${event.reasons.length} reasons`}
            </summary>
            <ul className="fm-evidence">
              {event.reasons.map((reason) => (
                <li key={reason}>{reason}</li>
              ))}
            </ul>
          </details>
        )}
      </div>
    </article>
  );
}

/** How often a flapping path moved so far. */
export function Times({ event }: { event: PathEvent }) {
  const words = timesWords(event, useNow());
  return words ? <span className="fm-badge" title={`First at ${utc(event.first_novel_unix_ms)}; it came back in between`}>{words}</span> : null;
}

/** How long it lasted, or has lasted so far; of a flapping path the latest time. */
export function Lasting({ event }: { event: PathEvent }) {
  const now = useNow();
  const from = openedAt(event);
  if (event.ended_unix_ms === null || event.ended_unix_ms === undefined) return <>for {duration(Math.floor((now - from) / 5000) * 5000)} so far</>;
  const ending = endingWords(event);
  return (
    <>
      for {duration(event.ended_unix_ms - from)}
      {ending && `, ${ending}`}
    </>
  );
}

function Cost({ event }: { event: PathEvent }) {
  const cost = rttCost(event);
  if (cost === undefined) return <span className="fm-muted">RTT cost not known</span>;
  return (
    <span title={`Median TCP RTT before ${rtt(event.before_rtt_us)}, after ${rtt(event.after_rtt_us)}`}>
      RTT {rtt(event.before_rtt_us)} → {rtt(event.after_rtt_us)} ({rttChange(cost)})
    </span>
  );
}
