/** One incident: what happened, to whom, when, at what cost, why we think so, and what we cannot see. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";

import { eventPathsQuery, incidentQuery } from "../api/queries";
import type { IncidentReport, PathEvent } from "../api/types";
import { EventHops } from "../components/EventHops";
import { Fact } from "../components/Fact";
import { IncidentDesk } from "../components/IncidentDesk";
import { IdentityComparison } from "../components/Identity";
import { RoutingOfIncident } from "../components/RoutingPanels";
import { Loaded, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { className, classMeaning, isOfPath, shortRouter } from "../lib/events";
import { asn, duration, plural } from "../lib/format";
import { confidenceWords, costWords } from "../lib/incidents";
import { IncidentBadges, IncidentLasting } from "./Incidents";

const page = getRouteApi("/incidents/$id");

export function IncidentPage() {
  const { id } = page.useParams();
  const incident = useQuery(incidentQuery(id));
  return (
    <div className="fm-page">
      <span className="fm-crumbs">
        <Link to="/incidents">Incidents</Link> › {incident.data ? className(incident.data.incident.class) : "incident"}
      </span>
      <Loaded
        query={incident}
        what="the incident"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={10} label="the incident" />
          </div>
        }
      >
        {(report) => <Whole report={report} />}
      </Loaded>
    </div>
  );
}

function Whole({ report }: { report: IncidentReport }) {
  const { incident, events } = report;
  const surest = [...events].sort((a, b) => (b.confidence ?? 0) - (a.confidence ?? 0))[0];
  return (
    <>
      <div className="fm-headline">
        <h1>{incident.text}</h1>
        <p className="fm-muted">{classMeaning(incident.class)}</p>
      </div>
      <Facts report={report} />
      {surest && isOfPath(surest) && <BeforeAndAfter event={surest} />}
      <section className="fm-panel" aria-label="What we saw">
        <div className="fm-panel-head">
          <h2>What we saw</h2>
          <span className="fm-muted fm-small">{confidenceWords(incident.confidence)}; each reason with what it adds or takes away</span>
        </div>
        <div className="fm-panel-body">
          <ul className="fm-evidence" style={{ margin: 0 }}>
            {incident.reasons.map((reason) => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </div>
      </section>
      <RoutingOfIncident incident={incident} />
      <IncidentDesk incidentId={incident.incident_id} />
      {events.length > 0 && <Affected events={events} total={incident.events_total} />}
      <section className="fm-panel" aria-label="Timeline">
        <div className="fm-panel-head">
          <h2>Timeline</h2>
        </div>
        <div className="fm-panel-body">
          <ol className="fm-evidence" style={{ margin: 0 }}>
            {incident.timeline.map((entry, index) => (
              <li key={index}>
                <Time ms={entry.at_unix_ms} exact /> {entry.text}
              </li>
            ))}
          </ol>
        </div>
      </section>
      <Unaffected report={report} />
      <section className="fm-panel" aria-label="What was not seen">
        <div className="fm-panel-head">
          <h2>What was not seen</h2>
        </div>
        <div className="fm-panel-body">
          <ul className="fm-evidence" style={{ margin: 0 }}>
            {report.unseen.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </div>
      </section>
    </>
  );
}

function Facts({ report: { incident } }: { report: IncidentReport }) {
  return (
    <section className="fm-panel" aria-label="Facts">
      <div className="fm-panel-head">
        <span className="fm-badge" data-tone={incident.state === "open" ? "shift" : undefined}>
          {className(incident.class)} · {incident.state}
        </span>
        <IncidentBadges incident={incident} />
        <span style={{ flex: 1 }} />
        <Button size="compact-xs" variant="default" onClick={() => { print(); }}>
          Print
        </Button>
      </div>
      <div className="fm-panel-body">
        <dl className="fm-facts">
          {(incident.targets.length > 0 || (incident.from ?? incident.to)) && (
            <>
              <Fact title="From">{shortRouter(incident.from ?? "not seen")}</Fact>
              <Fact title="To">{shortRouter(incident.to ?? "not seen")}</Fact>
            </>
          )}
          <Fact title="Onset between">
            <Time ms={incident.onset_from_unix_ms} exact /> and <Time ms={incident.onset_to_unix_ms} exact />
          </Fact>
          <Fact title="Duration">
            <IncidentLasting incident={incident} />
          </Fact>
          {incident.prefix && <Fact title="Prefix">{incident.prefix}</Fact>}
          {incident.cause && <Fact title="Cause">{incident.cause}</Fact>}
          <Fact title="Provider">{incident.provider_asn === null || incident.provider_asn === undefined ? "not known" : asn(incident.provider_asn)}</Fact>
          <Fact title="Agents">
            {incident.agents_total} <span className="fm-muted">({incident.agents_open} still)</span>
          </Fact>
          <Fact title="Sites">{incident.sites.length <= 6 ? incident.sites.join(", ") : plural(incident.sites.length, "site")}</Fact>
          <Fact title="Countries">{incident.countries.join(", ") || "not known"}</Fact>
          {incident.targets.length > 0 && (
            <>
              <Fact title="Targets">{incident.targets.join(", ")}</Fact>
              <Fact title="Cost in RTT">{costWords(incident.rtt_cost) ?? "not known"}</Fact>
            </>
          )}
          <Fact title="Confidence">{confidenceWords(incident.confidence)}</Fact>
          <Fact title="Decided">
            <Time ms={incident.decided_unix_ms} exact />
          </Fact>
        </dl>
      </div>
    </section>
  );
}

function BeforeAndAfter({ event }: { event: PathEvent }) {
  const paths = useQuery(eventPathsQuery(event.event_id));
  return (
    <section className="fm-panel" aria-label="Before and after">
      <div className="fm-panel-head">
        <h2>Before and after</h2>
        <span className="fm-muted fm-small">
          {event.site_name} to {event.target}; before is the usual path as it was when the first round differed
        </span>
      </div>
      <IdentityComparison before={event.before} after={event.after} beforeTitle="Before" afterTitle="After" />
      {paths.data && <EventHops paths={paths.data} />}
    </section>
  );
}

function Affected({ events, total }: { events: readonly PathEvent[]; total: number }) {
  const what = events.some(isOfPath) ? "path" : "site";
  return (
    <section className="fm-panel" aria-label="Affected">
      <div className="fm-panel-head">
        <h2>{plural(total, `affected ${what}`)}</h2>
        {total > events.length && <span className="fm-muted fm-small">the first {events.length}</span>}
      </div>
      <div className="fm-table-scroll">
        <table className="fm-table" aria-label={`Affected ${what}s`}>
          <thead>
            <tr>
              <th scope="col">Site</th>
              <th scope="col">{what === "path" ? "Target" : "Event"}</th>
              <th scope="col">Onset</th>
              <th scope="col">Sure after</th>
              <th scope="col">Ended</th>
              <th scope="col">Cost in RTT</th>
              <th scope="col">Confidence</th>
              <th scope="col" title="How often the AS path, the metro and the router could be seen in the last day: A best, D least">Seen</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <tr key={event.event_id}>
                <td>
                  <Link to="/agents/$id" params={{ id: event.agent_id }}>
                    {event.site_name}
                  </Link>
                </td>
                <td>
                  <Link to="/events/$id" params={{ id: event.event_id }}>
                    {isOfPath(event) ? event.target : className(event.class)}
                  </Link>
                </td>
                <td><Time ms={event.first_novel_unix_ms} exact /></td>
                <td>{duration(Math.max(0, event.detected_unix_ms - event.first_novel_unix_ms))}</td>
                <td>{event.ended_unix_ms === null || event.ended_unix_ms === undefined ? "open" : <Time ms={event.ended_unix_ms} exact />}</td>
                <td>{costWords(event.rtt_cost) ?? "–"}</td>
                <td>{confidenceWords(event.confidence)}</td>
                <td>{event.observability ? `${event.observability.provider} ${event.observability.geo} ${event.observability.local}` : "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Unaffected({ report: { unaffected, unaffected_total: total } }: { report: IncidentReport }) {
  return (
    <section className="fm-panel" aria-label="Not affected">
      <div className="fm-panel-head">
        <h2>{total === 0 ? "No other agent to compare with" : `Not affected: ${plural(total, "agent")}`}</h2>
      </div>
      {unaffected.length > 0 && (
        <div className="fm-panel-body">
          <ul className="fm-evidence" style={{ margin: 0 }}>
            {unaffected.map((peer) => (
              <li key={peer.agent_id}>
                <Link to="/agents/$id" params={{ id: peer.agent_id }}>
                  {peer.site_name}
                </Link>{" "}
                to {peer.target}
                {peer.provider_asn === null || peer.provider_asn === undefined ? "" : ` by ${asn(peer.provider_asn)}`}
                {peer.ingress_metros.length > 0 ? `, entering at ${peer.ingress_metros.join(", ")} as usual` : ", on its usual path"}
              </li>
            ))}
          </ul>
        </div>
      )}
    </section>
  );
}
