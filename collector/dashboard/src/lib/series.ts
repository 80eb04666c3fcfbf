/** Latency points into the columns that the chart draws. */
import type { LatencyPoint } from "../api/types";

export interface Columns {
  /** Seconds since 1970, one for each step of the span between the first and the last point. */
  at: number[];
  p5: (number | null)[];
  p25: (number | null)[];
  p50: (number | null)[];
  p75: (number | null)[];
  p95: (number | null)[];
  /** In per cent. */
  loss: (number | null)[];
  /** The point of each step, absent where there were no samples. */
  points: (LatencyPoint | undefined)[];
  /** Smallest RTT of all points in ms: the floor. */
  floor: number | undefined;
}

/** Steps without samples become gaps, not lines drawn across them. */
export function toColumns(points: readonly LatencyPoint[], stepS: number): Columns {
  const columns: Columns = { at: [], p5: [], p25: [], p50: [], p75: [], p95: [], loss: [], points: [], floor: undefined };
  const stepMs = Math.max(1, stepS) * 1000;
  let expected: number | undefined;
  for (const point of points) {
    if (expected !== undefined && point.at_unix_ms > expected) push(columns, expected, undefined);
    push(columns, point.at_unix_ms, point);
    expected = point.at_unix_ms + stepMs;
    const min = ms(point.figures.min_us);
    if (min !== null && (columns.floor === undefined || min < columns.floor)) columns.floor = min;
  }
  return columns;
}

/** The index of the step that holds a moment, or of the nearest one. */
export function nearest(at: readonly number[], seconds: number): number | undefined {
  let best: number | undefined;
  let gap = Infinity;
  at.forEach((value, index) => {
    if (Math.abs(value - seconds) < gap) {
      gap = Math.abs(value - seconds);
      best = index;
    }
  });
  return best;
}

/** An upper end for the RTT axis: above the largest p95, without letting one lone outlier flatten the rest. */
export function axisTop(values: readonly (number | null)[]): number {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const largest = known.at(-1);
  if (largest === undefined) return 1;
  const typical = known[Math.floor(known.length * 0.98)] ?? largest;
  return Math.max(largest > typical * 4 ? typical * 2 : largest, 0.2) * 1.08;
}

function push(columns: Columns, atMs: number, point: LatencyPoint | undefined): void {
  const figures = point?.figures;
  columns.at.push(atMs / 1000);
  columns.p5.push(ms(figures?.p5_us));
  columns.p25.push(ms(figures?.p25_us));
  columns.p50.push(ms(figures?.p50_us));
  columns.p75.push(ms(figures?.p75_us));
  columns.p95.push(ms(figures?.p95_us));
  const loss = figures?.loss_ratio;
  columns.loss.push(loss === null || loss === undefined ? null : loss * 100);
  columns.points.push(point);
}

function ms(us: number | null | undefined): number | null {
  return us === null || us === undefined ? null : us / 1000;
}
