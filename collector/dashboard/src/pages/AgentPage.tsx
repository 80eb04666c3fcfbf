/** One agent: what it is, what it sees of each target, its latency. */
import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";

import { agentQuery, eventsQuery, latencyQuery } from "../api/queries";
import type { Agent, AgentTarget } from "../api/types";
import { AgentState, targetState } from "../components/AgentsTable";
import { DataTable, type Column } from "../components/DataTable";
import { EventItem } from "../components/EventItem";
import { Loss, Protocols, Rtt } from "../components/figures";
import { LatencyPanel } from "../components/LatencyPanel";
import { MachinePanels } from "../components/MachinePanels";
import { Fact } from "../components/Fact";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { useNow } from "../components/useNow";
import { usePageSearch } from "../components/usePageSearch";
import { countryName } from "../lib/countries";
import { ago, count, plural, rtt } from "../lib/format";
import { windowWords } from "../lib/time";

const page = getRouteApi("/agents/$id");

export function AgentPage() {
  const { id } = page.useParams();
  const { search, window, protocol } = usePageSearch();
  const agent = useQuery(agentQuery(id));
  const latency = useQuery(latencyQuery({ scope: `agent:${id}`, window, protocol, phase: undefined, target: search.target }));
  const events = useQuery(eventsQuery(window));
  const own = (events.data ?? []).filter((event) => event.agent_id === id && (!search.target || event.target === search.target));
  return (
    <div className="fm-page">
      <span className="fm-crumbs">
        <Link to="/agents">Agents</Link> › {agent.data?.hostname ?? "agent"}
      </span>
      <Loaded
        query={agent}
        what="the agent"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={7} label="the agent" />
          </div>
        }
      >
        {(data) => <Whole agent={data} />}
      </Loaded>
      <MachinePanels agentId={id} />
      <LatencyPanel query={latency} events={own} />
      {own.length > 0 && (
        <section className="fm-panel" aria-label="Events">
          <div className="fm-panel-head">
            <h2>
              {plural(own.length, "event")}, {windowWords(window)}
            </h2>
          </div>
          {own.slice(0, 5).map((event) => (
            <EventItem key={event.event_id} event={event} />
          ))}
        </section>
      )}
    </div>
  );
}

function Whole({ agent }: { agent: Agent }) {
  const now = useNow();
  const { site } = agent;
  const ok = agent.targets.filter((target) => target.state === "ok").length;
  return (
    <>
      <div className="fm-headline">
        <h1>
          {agent.hostname} at {site.name}: {agent.state === "revoked" ? "revoked" : agent.targets.length > 0 ? `${ok} of ${plural(agent.targets.length, "target")} ok` : "no target yet"}
          {agent.last_seen_unix_ms ? `, last seen ${ago(agent.last_seen_unix_ms, now)}` : ", never seen"}
        </h1>
      </div>
      <section className="fm-panel" aria-label="Facts">
        <div className="fm-panel-body">
          <dl className="fm-facts">
            <Fact title="State"><AgentState state={agent.state} /></Fact>
            <Fact title="Last seen">{agent.last_seen_unix_ms ? <Time ms={agent.last_seen_unix_ms} exact /> : "never"}</Fact>
            <Fact title="Site">
              <Link to="/latency/$" params={{ _splat: `site:${site.site_id}` }}>{site.name}</Link>
            </Fact>
            <Fact title="Place">
              {[site.metro, site.subdivision, countryName(site.country)].filter(Boolean).join(", ")} <span className="fm-muted">({sourceWords(site.geography_source)})</span>
            </Fact>
            <Fact title="Version">{agent.version}{agent.expected_version && agent.version_state !== "current" && ` (${agent.expected_version} expected)`}</Fact>
            <Fact title="System">{agent.os ?? "not said"}</Fact>
            <Fact title="ICMP">{icmpWords(agent.icmp_capability)}</Fact>
            <Fact title="Enrolled"><Time ms={agent.enrolled_unix_ms} /></Fact>
            <Fact title="Reports dropped by its spool">{count(agent.spool_dropped_reports)}</Fact>
            <Fact title="Identity"><code>{agent.agent_id}</code></Fact>
          </dl>
        </div>
      </section>
      <section className="fm-panel" aria-label="Targets">
        <div className="fm-panel-head">
          <h2>Targets</h2>
          <span className="fm-muted fm-small">TCP RTT of the last 15 min</span>
        </div>
        {agent.targets.length > 0 ? (
          <DataTable columns={targetColumns(agent.agent_id)} rows={agent.targets} rowKey={(target) => target.name} label="Targets of the agent" />
        ) : (
          <Empty title="No target yet">
            <p>They appear with the agent’s first report.</p>
          </Empty>
        )}
      </section>
    </>
  );
}

function targetColumns(agentId: string): Column<AgentTarget>[] {
  return [
    {
      key: "name",
      title: "Target",
      value: (target) => target.name,
      cell: (target) => (
        <Link to="/paths" search={{ agent: agentId, target: target.name }} title={`${target.host}:${target.port}`}>
          {target.name}
        </Link>
      ),
    },
    { key: "state", title: "State", value: targetState, cell: (target) => <span className="fm-badge" data-tone={target.state === "ok" ? undefined : target.state === "waiting" || target.state === "revoked" ? "quiet" : "bad"}>{targetState(target)}</span> },
    {
      key: "host",
      title: "Host and address",
      value: (target) => `${target.host}:${target.port}`,
      cell: (target) => (
        <>
          {target.host}:{target.port}
          <br />
          <code className="fm-muted">{target.address ?? "no address"}</code>
        </>
      ),
    },
    { key: "p50", title: "p50", align: "right", value: (target) => target.figures.p50_us, cell: (target) => <Rtt us={target.figures.p50_us} /> },
    { key: "p95", title: "p95", align: "right", value: (target) => target.figures.p95_us, cell: (target) => rtt(target.figures.p95_us) },
    { key: "loss", title: "Loss", align: "right", value: (target) => target.figures.loss_ratio, cell: (target) => <Loss figures={target.figures} /> },
    { key: "n", title: "n", align: "right", value: (target) => target.figures.n, cell: (target) => count(target.figures.n) },
    { key: "ingress", title: "Ingress", value: (target) => target.ingress_pop?.metro, cell: (target) => <span title={target.ingress_pop?.name}>{target.ingress_pop?.metro ?? "–"}</span> },
    { key: "edge", title: "Edge", value: (target) => target.edge_pop?.metro, cell: (target) => <span title={target.edge_pop?.name}>{target.edge_pop?.metro ?? "–"}</span> },
    { key: "path", title: "Path", value: (target) => target.path_state },
    {
      key: "seen",
      title: "Seen",
      value: (target) => gradeWords(target),
      cell: (target) => <span title="How often a move of the provider, the metro and the router could have been told in the last day: A 95 % of the rounds, B 70 %, C 30 %, D less">{gradeWords(target)}</span>,
    },
    { key: "protocols", title: "Protocols", value: (target) => target.protocols.map((state) => `${state.protocol}${state.answered_here ? "" : " not answered"}`).join("; "), cell: (target) => <Protocols states={target.protocols} /> },
  ];
}

/** The observability grades of provider, metro and router. */
function gradeWords(target: AgentTarget): string {
  const grades = target.observability;
  return grades ? `${grades.provider} ${grades.geo} ${grades.local}` : "–";
}

function sourceWords(source: string): string {
  return { declared: "declared", country_table: "guessed from its address", unknown: "not known" }[source] ?? source;
}

function icmpWords(capability: string | null | undefined): string {
  return { raw: "raw sockets", datagram: "datagram sockets", none: "not permitted" }[capability ?? ""] ?? "not said";
}
