/** One event with all that is known of it. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";
import { useState } from "react";

import { eventPathsQuery, eventQuery, latencyQuery } from "../api/queries";
import type { PathEvent } from "../api/types";
import { EventHops } from "../components/EventHops";
import { Lasting, Times } from "../components/EventItem";
import { IdentityComparison } from "../components/Identity";
import { LatencyPanel } from "../components/LatencyPanel";
import { Loaded, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { usePageSearch } from "../components/usePageSearch";
import { className, classMeaning, isOfPath, rttCost } from "../lib/events";
import { duration, rtt, rttChange } from "../lib/format";
import { confidenceWords } from "../lib/incidents";

const page = getRouteApi("/events/$id");

export function EventPage() {
  const { id } = page.useParams();
  const event = useQuery(eventQuery(id));
  return (
    <div className="fm-page">
      <span className="fm-crumbs">
        <Link to="/events">Events</Link> › {event.data ? className(event.data.class) : "event"}
      </span>
      <Loaded
        query={event}
        what="the event"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={8} label="the event" />
          </div>
        }
      >
        {(data) => <Whole event={data} />}
      </Loaded>
    </div>
  );
}

function Whole({ event }: { event: PathEvent }) {
  const ofPath = isOfPath(event);
  const cost = rttCost(event);
  return (
    <>
      <div className="fm-headline">
        <div className="fm-row">
          <h1>{event.text}</h1>
        </div>
        <p className="fm-muted">{classMeaning(event.class)}</p>
      </div>
      <section className="fm-panel" aria-label="Facts">
        <div className="fm-panel-head">
          <span className="fm-badge" data-tone={event.state === "open" ? "shift" : undefined}>
            {className(event.class)} · {event.state}
          </span>
          <Times event={event} />
          <span style={{ flex: 1 }} />
          <CopyLink />
          <Button size="compact-xs" variant="default" onClick={() => { print(); }}>
            Print
          </Button>
        </div>
        <div className="fm-panel-body">
          <dl className="fm-facts">
            <Fact title="Between">
              <Time ms={event.last_good_unix_ms} exact /> and <Time ms={event.first_novel_unix_ms} exact />
            </Fact>
            <Fact title="Duration">
              <Lasting event={event} />
            </Fact>
            <Fact title="Sure after">{duration(event.detected_unix_ms - event.first_novel_unix_ms)}</Fact>
            {ofPath && (
              <Fact title="Median TCP RTT">
                {rtt(event.before_rtt_us)} → {rtt(event.after_rtt_us)}
                {cost !== undefined && ` (${rttChange(cost)})`}
              </Fact>
            )}
            <Fact title="Confidence">
              {event.status === "possible" ? "only possible, " : ""}
              {confidenceWords(event.confidence)}
            </Fact>
            {event.incident_id && (
              <Fact title="Incident">
                <Link to="/incidents/$id" params={{ id: event.incident_id }}>
                  {ofPath ? "all that moved with it" : "all that fell silent with it"}
                </Link>
              </Fact>
            )}
            <Fact title="Site">{event.site_name}</Fact>
            <Fact title="Agent">
              <Link to="/agents/$id" params={{ id: event.agent_id }}>
                {event.agent_id.slice(0, 8)}
              </Link>
            </Fact>
            {ofPath && (
              <Fact title="Path now">
                <Link to="/paths" search={{ agent: event.agent_id, target: event.target }}>
                  to {event.target}
                </Link>
              </Fact>
            )}
          </dl>
        </div>
      </section>
      {ofPath && <BeforeAndAfter event={event} />}
      <section className="fm-panel" aria-label="Evidence">
        <div className="fm-panel-head">
          <h2>What we saw</h2>
        </div>
        <div className="fm-panel-body">
          {event.reasons.length > 0 ? (
            <ul className="fm-evidence" style={{ margin: 0 }}>
              {event.reasons.map((reason) => (
                <li key={reason}>{reason}</li>
              ))}
            </ul>
          ) : (
            <p className="fm-muted">The collector kept no reasons for this event.</p>
          )}
        </div>
      </section>
      {ofPath && <Latency event={event} />}
    </>
  );
}

function BeforeAndAfter({ event }: { event: PathEvent }) {
  const paths = useQuery(eventPathsQuery(event.event_id));
  return (
    <section className="fm-panel" aria-label="Before and after">
      <div className="fm-panel-head">
        <h2>Before and after</h2>
      </div>
      <IdentityComparison before={event.before} after={event.after} beforeTitle="Before" afterTitle="After" />
      {paths.data && <EventHops paths={paths.data} />}
    </section>
  );
}

function Latency({ event }: { event: PathEvent }) {
  const { window, protocol } = usePageSearch();
  const latency = useQuery(latencyQuery({ scope: `agent:${event.agent_id}`, window, protocol, phase: undefined, target: event.target }));
  return <LatencyPanel query={latency} events={[event]} />;
}

function Fact({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function CopyLink() {
  const [copied, setCopied] = useState(false);
  return (
    <Button
      size="compact-xs"
      variant="default"
      onClick={() => {
        void navigator.clipboard.writeText(location.href).then(() => {
          setCopied(true);
        });
      }}
    >
      {copied ? "Link copied" : "Copy link"}
    </Button>
  );
}
