/** Incidents in words and order. */
import type { Incident, RttCost } from "../api/types";
import { rttChange } from "./format";
import { dayName } from "./time";

/** `+7.1 ms (95 % CI +6.4 ms to +7.9 ms)`; nothing where it is not known. */
export function costWords(cost: RttCost | null | undefined): string | undefined {
  if (!cost) return undefined;
  return `${rttChange(cost.change_us)} (95 % CI ${rttChange(cost.change_low_us)} to ${rttChange(cost.change_high_us)}, n ${cost.n_before} and ${cost.n_after})`;
}

/** Confidence as a word and a number. */
export function confidenceWords(confidence: number | null | undefined): string {
  if (confidence === null || confidence === undefined) return "confidence not known";
  const word = confidence >= 0.98 ? "near certain" : confidence >= 0.9 ? "sure" : "possible";
  return `${word} (${confidence.toFixed(2)})`;
}

/** A heading with its incidents. */
export interface IncidentGroup {
  title: string;
  incidents: Incident[];
}

/** Open ones first, then day by day, newest first. */
export function groupIncidents(incidents: readonly Incident[]): IncidentGroup[] {
  const sorted = [...incidents].sort((a, b) => b.onset_to_unix_ms - a.onset_to_unix_ms);
  const groups = new Map<string, Incident[]>();
  const open = sorted.filter((incident) => incident.state === "open");
  if (open.length > 0) groups.set("Open now", open);
  for (const incident of sorted.filter((one) => one.state !== "open")) {
    const title = dayName(incident.onset_to_unix_ms);
    groups.set(title, [...(groups.get(title) ?? []), incident]);
  }
  return [...groups].map(([title, list]) => ({ title, incidents: list }));
}
