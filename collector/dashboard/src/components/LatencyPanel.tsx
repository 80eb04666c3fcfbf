/** Latency of one scope over the window: protocol and phase switches, chart or table, event marks. */
import { SegmentedControl, useComputedColorScheme } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { useMemo, useState, type ReactNode } from "react";

import type { LatencyPoint, LatencyReport, PathEvent, ProtocolState } from "../api/types";
import { LatencyChart } from "../charts/LatencyChart";
import { className, movement } from "../lib/events";
import { count, ratio, rtt } from "../lib/format";
import { PROTOCOLS, oneOf, type Protocol } from "../lib/search";
import { clockTime, utc } from "../lib/time";
import { CsvButton, DataTable, type Column } from "./DataTable";
import { protocolName } from "./figures";
import { Empty, Loaded, Waiting } from "./states";
import { usePageSearch } from "./usePageSearch";

export function LatencyPanel({ query, events, extra }: { query: UseQueryResult<LatencyReport>; events: readonly PathEvent[]; extra?: ReactNode }) {
  const [view, setView] = useState<"chart" | "table">("chart");
  const { protocol, change } = usePageSearch();
  return (
    <section className="fm-panel" aria-label="Latency over time">
      <div className="fm-panel-head">
        <h2>RTT and loss</h2>
        <ProtocolSwitch states={query.data?.protocols ?? []} protocol={protocol} choose={(value) => { change({ protocol: value === "tcp" ? undefined : value }); }} />
        {extra}
        <span style={{ flex: 1 }} />
        <SegmentedControl aria-label="View" transitionDuration={0} value={view} data={[{ value: "chart", label: "Chart" }, { value: "table", label: "Table" }]} onChange={(value) => { setView(oneOf(["chart", "table"] as const, value) ?? "chart"); }} />
        {query.data && <CsvButton columns={COLUMNS} rows={query.data.points} name={`latency-${query.data.scope}-${query.data.protocol}`} />}
      </div>
      <Loaded query={query} what="the latency" waiting={<Waiting height={416} label="the chart" />}>
        {(report) => <Body report={report} events={events} view={view} />}
      </Loaded>
    </section>
  );
}

function Body({ report, events, view }: { report: LatencyReport; events: readonly PathEvent[]; view: "chart" | "table" }) {
  const scheme = useComputedColorScheme("light");
  const marks = useMemo(() => events.map((event) => ({ atMs: event.first_novel_unix_ms, label: mark(event) })), [events]);
  const state = report.protocols.find((one) => one.protocol === report.protocol);
  if (report.points.length === 0) {
    return (
      <div style={{ minHeight: 416 }}>
        <Empty title={state && !state.answered_here ? `${protocolName(report.protocol)} is not answered here` : "No samples in this window"}>
          <NoSamples report={report} state={state} />
        </Empty>
      </div>
    );
  }
  return (
    <div style={{ minHeight: 416 }}>
      {state && !state.answered_here && (
        <p className="fm-small fm-muted" style={{ padding: "8px 12px 0" }}>
          {protocolName(report.protocol)} is not answered here: {count(state.n)} probes, none ever answered. It counts neither as loss nor as a fault.
        </p>
      )}
      {view === "chart" ? (
        <>
          <LatencyChart points={report.points} window={report.window} stepS={report.step_s} marks={marks} scheme={scheme} label={`RTT and loss of ${report.name}, ${protocolName(report.protocol)}`} />
          <ChartLegend weighting={report.weighting} stepS={report.step_s} marked={marks.length > 0} />
        </>
      ) : (
        <DataTable columns={COLUMNS} rows={report.points} rowKey={(point) => String(point.at_unix_ms)} label={`RTT and loss of ${report.name} by step`} initialSort={{ key: "at", order: "descending" }} maxHeight={420} />
      )}
    </div>
  );
}

function NoSamples({ report, state }: { report: LatencyReport; state: ProtocolState | undefined }) {
  const answered = report.protocols.filter((one) => one.answered_here).map((one) => protocolName(one.protocol));
  if (state && !state.answered_here) {
    return (
      <p>
        {count(state.n)} probes were sent and none was ever answered, so it counts neither as loss nor as a fault.
        {answered.length > 0 && ` Answered here: ${answered.join(", ")}.`}
      </p>
    );
  }
  return <p>{answered.length > 0 ? `There are samples of ${answered.join(", ")}. Choose one above, or a longer window.` : "Choose a longer window, or see on the agents page whether the agents report."}</p>;
}

/** Unanswered protocols are grey: they are no fault. */
function ProtocolSwitch({ states, protocol, choose }: { states: readonly ProtocolState[]; protocol: Protocol; choose: (protocol: Protocol | undefined) => void }) {
  return (
    <SegmentedControl
      aria-label="Protocol of the chart"
      transitionDuration={0}
      value={protocol}
      data={PROTOCOLS.map((value) => {
        const state = states.find((one) => one.protocol === value);
        const refused = state && !state.answered_here;
        const quiet = states.length > 0 && !state?.answered_here;
        const title = !state ? "No samples" : state.answered_here ? `${count(state.n)} probes` : "Not answered here";
        return {
          value,
          label: (
            <span title={title} style={quiet ? { color: "var(--fm-muted)", fontStyle: "italic", fontWeight: 400, textDecoration: refused ? "line-through" : undefined } : undefined}>
              {protocolName(value)}
            </span>
          ),
        };
      })}
      onChange={(value) => { choose(oneOf(PROTOCOLS, value)); }}
    />
  );
}

function ChartLegend({ weighting, stepS, marked }: { weighting: string; stepS: number; marked: boolean }) {
  const box = (style: React.CSSProperties) => <i style={{ display: "inline-block", width: 16, height: 10, ...style }} aria-hidden="true" />;
  return (
    <div className="fm-legend">
      <span className="fm-row" style={{ gap: 5 }}>{box({ height: 0, borderTop: "2px solid var(--fm-p50)" })} p50</span>
      <span className="fm-row" style={{ gap: 5 }}>{box({ background: "var(--fm-band-inner)" })} p25–p75</span>
      <span className="fm-row" style={{ gap: 5 }}>{box({ background: "var(--fm-band-outer)" })} p5–p95</span>
      <span className="fm-row" style={{ gap: 5 }}>{box({ height: 0, borderTop: "2px dotted var(--fm-floor)" })} smallest RTT of the window</span>
      <span className="fm-row" style={{ gap: 5 }}>{box({ width: 8, background: "var(--fm-loss)" })} loss</span>
      {marked && <span className="fm-row" style={{ gap: 5 }}>{box({ width: 0, height: 12, borderLeft: "2px solid var(--fm-shift)" })} path event</span>}
      <span>steps of {stepS >= 3600 ? `${stepS / 3600} h` : stepS >= 60 ? `${stepS / 60} min` : `${stepS} s`}, weighted by {weighting}</span>
    </div>
  );
}

function mark(event: PathEvent): string {
  const { before, after } = movement(event);
  return `${className(event.class)} of ${event.site_name}: ${before} → ${after}`;
}

const COLUMNS: readonly Column<LatencyPoint>[] = [
  { key: "at", title: "Time", value: (point) => utc(point.at_unix_ms), cell: (point) => <span title={utc(point.at_unix_ms)}>{clockTime(point.at_unix_ms)}</span> },
  ...(["min_us", "p5_us", "p25_us", "p50_us", "p75_us", "p95_us", "p99_us"] as const).map(
    (key): Column<LatencyPoint> => ({ key, title: key.slice(0, -3), align: "right", value: (point) => point.figures[key], cell: (point) => rtt(point.figures[key]) }),
  ),
  { key: "loss", title: "Loss", align: "right", value: (point) => point.figures.loss_ratio, cell: (point) => <span className={(point.figures.loss_ratio ?? 0) > 0 ? "fm-loss" : undefined}>{ratio(point.figures.loss_ratio)}</span> },
  { key: "n", title: "n", align: "right", value: (point) => point.figures.n, cell: (point) => count(point.figures.n) },
  { key: "agents", title: "Agents", align: "right", value: (point) => point.figures.agents },
];
