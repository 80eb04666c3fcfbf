/** RTT as smoke (p5–p95, p25–p75, p50) over loss bars, one crosshair and one time axis for both. */
import "uplot/dist/uPlot.min.css";

import { useElementSize } from "@mantine/hooks";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";

import type { LatencyPoint, Window } from "../api/types";
import { count, plural, ratio, rtt } from "../lib/format";
import { axisTop, toColumns, type Columns } from "../lib/series";
import { clockTime, utc } from "../lib/time";
import { readPalette, type Palette } from "./palette";

/** A moment to mark on the time axis. */
export interface Mark {
  atMs: number;
  label: string;
}

const RTT_HEIGHT = 270;
const LOSS_HEIGHT = 106;
const AXIS_WIDTH = 58;

export function LatencyChart({
  points,
  window,
  stepS,
  marks,
  scheme,
  label,
}: {
  points: readonly LatencyPoint[];
  window: Window;
  stepS: number;
  marks: readonly Mark[];
  scheme: string;
  label: string;
}) {
  const { ref, width } = useElementSize();
  const columns = useMemo(() => toColumns(points, stepS), [points, stepS]);
  const [index, setIndex] = useState<number | undefined>(undefined);
  const { rttHost, lossHost, rttPlot } = usePlots(columns, window, marks, scheme, width, setIndex);
  const shown = index ?? columns.at.length - 1;

  const step = (by: number) => {
    const next = Math.max(0, Math.min(columns.at.length - 1, (index ?? columns.at.length - 1) + by));
    const at = columns.at[next];
    const chart = rttPlot.current;
    if (chart && at !== undefined) chart.setCursor({ left: chart.valToPos(at, "x"), top: 20 });
    setIndex(next);
  };

  return (
    <div className="fm-chart">
      <Readout columns={columns} index={shown} hovering={index !== undefined} stepS={stepS} marks={marks} />
      <div
        ref={ref}
        role="img"
        // The readout above says the values; arrow keys move through the steps.
        tabIndex={0}
        aria-label={`${label}. Arrow keys move through the steps; the table view holds the same numbers.`}
        style={{ height: RTT_HEIGHT + LOSS_HEIGHT, overflow: "hidden" }}
        onKeyDown={(key) => {
          if (key.key !== "ArrowLeft" && key.key !== "ArrowRight") return;
          key.preventDefault();
          step(key.key === "ArrowLeft" ? -1 : 1);
        }}
      >
        <div ref={rttHost} style={{ height: RTT_HEIGHT }} />
        <div ref={lossHost} style={{ height: LOSS_HEIGHT }} />
      </div>
    </div>
  );
}

function Readout({ columns, index, hovering, stepS, marks }: { columns: Columns; index: number; hovering: boolean; stepS: number; marks: readonly Mark[] }) {
  const at = columns.at[index];
  if (at === undefined) return <div className="fm-readout" />;
  const figures = columns.points[index]?.figures;
  const near = marks.filter((mark) => mark.atMs >= at * 1000 && mark.atMs < (at + stepS) * 1000);
  return (
    <div className="fm-readout" aria-live={hovering ? "polite" : "off"}>
      <span title={utc(at * 1000)}>
        <b>{clockTime(at * 1000)}</b> <span className="fm-muted">{hovering ? `step of ${stepS} s` : "latest step"}</span>
      </span>
      {figures ? (
        <>
          <span>
            p50 <b>{rtt(figures.p50_us)}</b>
          </span>
          <span>
            p25–p75 {rtt(figures.p25_us)} – {rtt(figures.p75_us)}
          </span>
          <span>
            p5–p95 {rtt(figures.p5_us)} – {rtt(figures.p95_us)}
          </span>
          <span>min {rtt(figures.min_us)}</span>
          <span className={(figures.loss_ratio ?? 0) > 0 ? "fm-loss" : undefined}>loss {ratio(figures.loss_ratio)}</span>
          <span className="fm-muted">
            n {count(figures.n)}, {plural(figures.agents, "agent")}
          </span>
        </>
      ) : (
        <span className="fm-muted">no samples in this step</span>
      )}
      {near.map((mark) => (
        <span key={`${mark.label} ${mark.atMs}`} className="fm-shift">
          {mark.label}
        </span>
      ))}
    </div>
  );
}

function usePlots(
  columns: Columns,
  window: Window,
  marks: readonly Mark[],
  scheme: string,
  width: number,
  onIndex: (index: number | undefined) => void,
) {
  const rttHost = useRef<HTMLDivElement>(null);
  const lossHost = useRef<HTMLDivElement>(null);
  const rtt = useRef<uPlot>(undefined);
  const loss = useRef<uPlot>(undefined);
  const latest = useRef({ marks, window, columns });
  const measured = width > 0;

  // The hooks of the charts outlive a render and read what is current from here.
  useEffect(() => {
    latest.current = { marks, window, columns };
  });

  // A chart lives as long as the colours do; data and size are set into it, so the crosshair stays.
  useEffect(() => {
    if (!measured || !rttHost.current || !lossHost.current) return;
    const palette = readPalette();
    const sync = uPlot.sync(`latency-${Math.random()}`);
    const shared = { width: rttHost.current.clientWidth, drawMarks: (plot: uPlot) => { drawMarks(plot, latest.current.marks, palette); }, sync, palette };
    rtt.current = new uPlot(
      rttOptions({ ...shared, onIndex, span: () => spanOf(latest.current.window), top: () => topOf(latest.current.columns) }),
      rttData(latest.current.columns),
      rttHost.current,
    );
    loss.current = new uPlot(lossOptions({ ...shared, span: () => spanOf(latest.current.window) }), lossData(latest.current.columns), lossHost.current);
    return () => {
      rtt.current?.destroy();
      loss.current?.destroy();
      rtt.current = undefined;
      loss.current = undefined;
    };
  }, [scheme, measured, onIndex]);

  useEffect(() => {
    if (!measured) return;
    rtt.current?.setSize({ width, height: RTT_HEIGHT });
    loss.current?.setSize({ width, height: LOSS_HEIGHT });
  }, [width, measured]);

  useEffect(() => {
    rtt.current?.setData(rttData(columns));
    loss.current?.setData(lossData(columns));
  }, [columns, window, marks]);

  return { rttHost, lossHost, rttPlot: rtt };
}

interface Shared {
  width: number;
  palette: Palette;
  sync: uPlot.SyncPubSub;
  span: () => [number, number];
  drawMarks: (plot: uPlot) => void;
}

function rttOptions({ width, palette, sync, span, drawMarks: marks, onIndex, top }: Shared & { onIndex: (index: number | undefined) => void; top: () => number }): uPlot.Options {
  const line = (stroke: string, strokeWidth: number, dash?: number[]): uPlot.Series => ({ stroke, width: strokeWidth, points: { show: false }, ...(dash ? { dash } : {}) });
  return {
    width,
    height: RTT_HEIGHT,
    legend: { show: false },
    padding: [10, 22, 0, 0],
    cursor: { sync: { key: sync.key }, drag: { x: false, y: false }, y: false, points: { size: 7 } },
    scales: { x: { time: true, range: span }, y: { range: () => [0, top()] } },
    axes: [timeAxis(palette, false), valueAxis(palette, "ms", 50)],
    series: [
      {},
      line(palette.bandOuter, 1),
      line("transparent", 0),
      line("transparent", 0),
      line("transparent", 0),
      { ...line(palette.p50, 2), points: { show: (plot) => (plot.data[0].length < 40), size: 5, fill: palette.p50, stroke: palette.p50 } },
      line(palette.floor, 1, [2, 4]),
    ],
    bands: [
      { series: [1, 2], fill: palette.bandOuter },
      { series: [3, 4], fill: palette.bandInner },
    ],
    hooks: {
      draw: [marks],
      setCursor: [
        (plot) => {
          onIndex(plot.cursor.left !== undefined && plot.cursor.left >= 0 ? (plot.cursor.idx ?? undefined) : undefined);
        },
      ],
    },
  };
}

function lossOptions({ width, palette, sync, span, drawMarks: marks }: Shared): uPlot.Options {
  const bars = uPlot.paths.bars?.({ size: [0.8, 18, 2] });
  return {
    width,
    height: LOSS_HEIGHT,
    legend: { show: false },
    padding: [8, 22, 0, 0],
    cursor: { sync: { key: sync.key }, drag: { x: false, y: false }, y: false, points: { show: false } },
    scales: { x: { time: true, range: span }, y: { range: (_plot, _min, max) => [0, Math.max(5, Math.min(100, max * 1.15 || 0))] } },
    axes: [timeAxis(palette, true), valueAxis(palette, "% loss", 26)],
    series: [{}, { stroke: palette.loss, fill: palette.loss, width: 0, points: { show: false }, ...(bars ? { paths: bars } : {}) }],
    hooks: { draw: [marks] },
  };
}

function timeAxis(palette: Palette, shown: boolean): uPlot.Axis {
  return {
    stroke: palette.muted,
    grid: { stroke: palette.line, width: 1 },
    ticks: { stroke: palette.line, width: 1, size: shown ? 4 : 0 },
    size: shown ? 44 : 6,
    font: "12px system-ui, sans-serif",
    values: shown
      ? [
          [86400, "{D} {MMM}", null, null, null, null, null, null, 1],
          [3600, "{HH}:{mm}", "\n{D} {MMM}", null, null, null, null, null, 1],
          [60, "{HH}:{mm}", "\n{D} {MMM}", null, null, null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, null, null, null, null, 1],
        ]
      : (_plot, splits) => splits.map(() => ""),
  };
}

function valueAxis(palette: Palette, unit: string, space: number): uPlot.Axis {
  return {
    stroke: palette.muted,
    grid: { stroke: palette.line, width: 1 },
    ticks: { stroke: palette.line, width: 1, size: 4 },
    size: AXIS_WIDTH,
    space,
    label: unit,
    labelSize: 16,
    labelGap: 0,
    labelFont: "12px system-ui, sans-serif",
    font: "12px system-ui, sans-serif",
  };
}

function drawMarks(plot: uPlot, marks: readonly Mark[], palette: Palette): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.setLineDash([]);
  ctx.strokeStyle = palette.shift;
  ctx.fillStyle = palette.shift;
  ctx.lineWidth = 1.5 * ratio;
  for (const mark of marks) {
    const x = Math.round(plot.valToPos(mark.atMs / 1000, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 5 * ratio, bbox.top - 7 * ratio);
    ctx.lineTo(x + 5 * ratio, bbox.top - 7 * ratio);
    ctx.lineTo(x, bbox.top);
    ctx.fill();
  }
  ctx.restore();
}

function rttData(columns: Columns): uPlot.AlignedData {
  const floor = columns.at.map(() => columns.floor ?? null);
  return [columns.at, columns.p95, columns.p5, columns.p75, columns.p25, columns.p50, floor];
}

function lossData(columns: Columns): uPlot.AlignedData {
  return [columns.at, columns.loss];
}

function spanOf(window: Window): [number, number] {
  return [window.from_unix_ms / 1000, window.to_unix_ms / 1000];
}

function topOf(columns: Columns): number {
  return axisTop(columns.p95);
}
