/** Events in words and order. */
import type { EventClass, PathEvent, PathIdentity } from "../api/types";
import { ordinal } from "./format";
import { dayName, shortTime } from "./time";

const WORDS: Record<EventClass, string> = {
  geo_failover: "Geo failover",
  local_failover: "Local failover",
  as_path_shift: "AS path shift",
};

const MEANING: Record<EventClass, string> = {
  geo_failover: "The ingress moved to another metro.",
  local_failover: "The ingress moved to another router of the same metro.",
  as_path_shift: "The AS path changed.",
};

/** Name of a class. */
export function className(value: EventClass): string {
  return WORDS[value];
}

/** What a class means, in one sentence. */
export function classMeaning(value: EventClass): string {
  return MEANING[value];
}

/** The part of the identities that the class is about: what moved from where to where. */
export function movement(event: PathEvent): { before: string; after: string } {
  const read: Record<EventClass, (identity: PathIdentity) => string> = {
    geo_failover: (identity) => (identity.ingress_metros.length > 0 ? identity.ingress_metros : identity.edge_metros).join(", "),
    local_failover: (identity) => identity.ingress_routers.map(shortRouter).join(", "),
    as_path_shift: (identity) => identity.as_path.map((as) => `AS${as}`).join(" "),
  };
  return { before: read[event.class](event.before) || "not seen", after: read[event.class](event.after) || "not seen" };
}

/** The telling part of a router's name: the labels before the network's own domain. */
export function shortRouter(name: string): string {
  return name.endsWith(".ntwk.msn.net") ? name.slice(0, -".ntwk.msn.net".length) : name;
}

/** RTT after minus before, where both are known. */
export function rttCost(event: PathEvent): number | undefined {
  const { before_rtt_us: before, after_rtt_us: after } = event;
  return before === null || before === undefined || after === null || after === undefined ? undefined : after - before;
}

/** When it began, or for a flapping path when it began the latest time: durations count from here. */
export function openedAt(event: PathEvent): number {
  return event.reopened_unix_ms ?? event.first_novel_unix_ms;
}

/** `3rd time since 10:02` for a path that moved again after it was back, else nothing. */
export function timesWords(event: PathEvent, nowMs: number): string | undefined {
  return event.reopenings > 0 ? `${ordinal(event.reopenings + 1)} time since ${shortTime(event.first_novel_unix_ms, nowMs)}` : undefined;
}

/** A heading with its events. */
export interface EventGroup {
  title: string;
  events: PathEvent[];
}

/** Open ones first, then day by day, newest first. */
export function groupEvents(events: readonly PathEvent[]): EventGroup[] {
  const sorted = [...events].sort((a, b) => openedAt(b) - openedAt(a));
  const groups = new Map<string, PathEvent[]>();
  const open = sorted.filter((event) => event.state === "open");
  if (open.length > 0) groups.set("Open now", open);
  for (const event of sorted.filter((one) => one.state !== "open")) {
    const title = dayName(openedAt(event));
    groups.set(title, [...(groups.get(title) ?? []), event]);
  }
  return [...groups].map(([title, list]) => ({ title, events: list }));
}
