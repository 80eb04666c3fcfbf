/** Latency of a geography, a site or the world: a sentence, the chart, and who is behind it. */
import { SegmentedControl, Skeleton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi } from "@tanstack/react-router";

import { agentsQuery, eventsQuery, geographiesQuery, latencyQuery } from "../api/queries";
import type { GeographyLevel, GeographyRow, LatencyReport } from "../api/types";
import { AgentsTable } from "../components/AgentsTable";
import { EventItem } from "../components/EventItem";
import { phaseName, protocolName } from "../components/figures";
import { LatencyPanel } from "../components/LatencyPanel";
import { Empty, Failed, Loaded, WaitingRows } from "../components/states";
import { usePageSearch } from "../components/usePageSearch";
import { PHASES } from "../lib/search";
import { change, count, plural, ratio, rtt } from "../lib/format";
import { inScope, parseScope } from "../lib/scope";
import { windowWords } from "../lib/time";

const page = getRouteApi("/latency/$");

export function Latency() {
  const { _splat = "" } = page.useParams();
  const scope = _splat === "" ? "world" : _splat;
  const { phase } = page.useSearch();
  const { search, window, protocol } = usePageSearch();
  const https = protocol === "https";
  const latency = useQuery(latencyQuery({ scope, window, protocol, phase: https ? (phase ?? "ttfb") : undefined, target: search.target }));
  const agents = useQuery(agentsQuery);
  const events = useQuery(eventsQuery(window));
  const row = useRow(scope);
  const inside = (agents.data ?? []).filter((agent) => inScope(scope, agent));
  const ids = new Set(inside.map((agent) => agent.agent_id));
  const own = (events.data ?? []).filter((event) => ids.has(event.agent_id) && (!search.target || event.target === search.target));

  if (!parseScope(scope)) {
    return (
      <div className="fm-panel">
        <Empty title="This is no geography, site or agent">
          <p>
            <code>{scope}</code> is not of the form <code>country:NL</code>, <code>site:…</code> or <code>agent:…</code>. <Link to="/">Go to the world page</Link>.
          </p>
        </Empty>
      </div>
    );
  }
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <span className="fm-crumbs">
          <Link to="/">World</Link> › {parseScope(scope)?.level}
        </span>
        <Headline report={latency.data} row={row} failed={latency.isError} />
      </div>
      <LatencyPanel query={latency} events={own} extra={https && <PhaseSwitch phase={phase ?? "ttfb"} />} />
      {own.length > 0 && (
        <section className="fm-panel" aria-label="Events">
          <div className="fm-panel-head">
            <h2>{plural(own.length, "event")} here, {windowWords(window)}</h2>
          </div>
          {own.slice(0, 5).map((event) => (
            <EventItem key={event.event_id} event={event} />
          ))}
        </section>
      )}
      <section className="fm-panel" aria-label="Agents">
        <div className="fm-panel-head">
          <h2>Agents here</h2>
        </div>
        <Loaded query={agents} what="the agents" waiting={<WaitingRows rows={4} label="agents" />}>
          {() => (inside.length > 0 ? <AgentsTable agents={inside} /> : <Empty title="No agent belongs here" />)}
        </Loaded>
      </section>
      {events.isError && events.data === undefined && (
        <section className="fm-panel">
          <Failed what="the events" error={events.error} retry={() => void events.refetch()} />
        </section>
      )}
    </div>
  );
}

/** The row of the geography table for a scope: it knows what is usual. */
function useRow(scope: string): GeographyRow | undefined {
  const { search, window, protocol } = usePageSearch();
  const parsed = parseScope(scope);
  const isRow = parsed !== undefined && parsed.level !== "world" && parsed.level !== "agent";
  const level = (isRow ? parsed.level : "country") as GeographyLevel;
  const report = useQuery({ ...geographiesQuery({ level, window, protocol, target: search.target, country: undefined }), enabled: isRow });
  return isRow && report.data?.level === level ? report.data.rows.find((row) => row.key === parsed.key) : undefined;
}

function Headline({ report, row, failed }: { report: LatencyReport | undefined; row: GeographyRow | undefined; failed: boolean }) {
  const { window } = usePageSearch();
  if (!report) return <h1 style={{ minHeight: 48 }}>{row?.name ?? (failed ? "Latency" : <Skeleton height={22} width="min(420px, 80%)" mt={4} />)}</h1>;
  const { total } = report;
  const usual = row && change(total.p50_us, row.before.p50_us);
  const name = row?.name ?? report.name;
  return (
    <div style={{ minHeight: 48 }}>
      <h1>
        {total.p50_us === null || total.p50_us === undefined
          ? `${name}: no ${protocolName(report.protocol)} answer in the ${windowWords(window)}`
          : `${name}: p50 ${rtt(total.p50_us)}, p95 ${rtt(total.p95_us)}, loss ${ratio(total.loss_ratio)}`}
      </h1>
      <p className="fm-muted">
        {phaseName(report.protocol, report.phase)}, {windowWords(window)}, n {count(total.n)} from {plural(total.agents, "agent")}
        {usual && (usual.direction === "same" ? "; as usual" : `; p50 ${usual.text} against the span before (${rtt(row.before.p50_us)})`)}
        {row && row.ingress_metros.length > 0 && `; enters Microsoft's network at ${row.ingress_metros.join(", ")}`}
        {report.target ? `; target ${report.target}` : "; all targets"}
        {total.left_out > 0 && `; ${count(total.left_out)} probes left out: their agents marked them as tunnelled, roaming or answered too near`}
        {total.mistimed > 0 && `; ${count(total.mistimed)} answers without a time: their machines were busy`}.
      </p>
    </div>
  );
}

function PhaseSwitch({ phase }: { phase: (typeof PHASES)[number] }) {
  const navigate = page.useNavigate();
  return (
    <SegmentedControl
      aria-label="Phase of HTTPS"
      transitionDuration={0}
      value={phase}
      data={[
        { value: "connect", label: "Connect" },
        { value: "tls", label: "TLS" },
        { value: "ttfb", label: "First byte" },
        { value: "ttfb_warm", label: "Warm" },
      ]}
      onChange={(value) => {
        void navigate({ search: (now) => ({ ...now, phase: value === "ttfb" ? undefined : value }), replace: true, resetScroll: false });
      }}
    />
  );
}
