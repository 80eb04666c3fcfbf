/**
 * The one latency scale of the dashboard: fixed steps, so that a colour means the same on every page and day.
 *
 * Blue to orange over a pale middle; the order stays readable in the three common colour-blindnesses and in grey.
 */
export interface ScaleStep {
  /** Exclusive upper end in ms; the last step has none. */
  belowMs: number;
  label: string;
  colour: string;
}

export const LATENCY_STEPS: readonly ScaleStep[] = [
  { belowMs: 10, label: "<10", colour: "#1c5a9c" },
  { belowMs: 20, label: "10–20", colour: "#4a8fc6" },
  { belowMs: 40, label: "20–40", colour: "#9cc4de" },
  { belowMs: 80, label: "40–80", colour: "#e8d5b0" },
  { belowMs: 160, label: "80–160", colour: "#f2ab5c" },
  { belowMs: 320, label: "160–320", colour: "#dc7420" },
  { belowMs: Infinity, label: "≥320", colour: "#98420a" },
];

/** The colour of an RTT; none where nothing answered. */
export function latencyColour(us: number | null | undefined): string | undefined {
  if (us === null || us === undefined) return undefined;
  return LATENCY_STEPS.find((step) => us / 1000 < step.belowMs)?.colour;
}
