/** Events in words and order. */
import type { EventClass, PathEvent, PathIdentity } from "../api/types";
import { ordinal } from "./format";
import { dayName, shortTime } from "./time";

const WORDS: Record<EventClass, string> = {
  geo: "Geo failover",
  partial_geo: "Partial geo failover",
  local: "Local failover",
  provider: "Provider shift",
  uplink: "Uplink change",
  unreachable: "Unreachable",
  redundancy_lost: "Redundancy lost",
  flapping: "Flapping",
  front_door_moved: "Front door moved",
  site_silent: "Site silent",
  latency: "Latency",
  congestion: "Congestion",
  loss: "Loss",
  ipdv: "Delay variation",
  return_path_suspected: "Return path?",
  prefix_origin_change: "Prefix hijack",
  prefix_hijack: "Sub-prefix hijack",
  prefix_forged_path: "Forged path",
  prefix_leak: "Route leak",
  prefix_rpki: "RPKI",
  prefix_policy: "Path policy",
  prefix_withdrawn: "Prefix withdrawn",
};

const MEANING: Record<EventClass, string> = {
  geo: "The ingress into Microsoft's network moved to another metro.",
  partial_geo: "The ingress moved to another metro for a part of the flows.",
  local: "The ingress moved to another router of the same metro.",
  provider: "Another network hands over to Microsoft, or is on the way.",
  uplink: "The site came out in another network.",
  unreachable: "Microsoft's network was not reached.",
  redundancy_lost: "A router that carried a share of the flows carries none.",
  flapping: "The path moves too often to be told one by one.",
  front_door_moved: "Another front-door zone answers over the same ingress.",
  site_silent: "All agents of the site have stopped to report.",
  latency: "The RTT rose and stays risen; the path is the same.",
  congestion: "The RTT rises at the same hour of other days too; the path is the same.",
  loss: "The loss rose and stays risen; the path is the same.",
  ipdv: "The delay variation rose and stays risen; the path is the same.",
  return_path_suspected: "Replies come by another number of hops for good; the way there is the same.",
  prefix_origin_change: "A registered prefix is announced by a network that may not.",
  prefix_hijack: "A part of a registered prefix is announced that may not be.",
  prefix_forged_path: "A registered prefix is announced behind a network that may not stand there.",
  prefix_leak: "A registered prefix is propagated past the policy of a network.",
  prefix_rpki: "A registered prefix is not announced as RPKI says, or RPKI says something else of it.",
  prefix_policy: "The path of a registered prefix is not one that was agreed on.",
  prefix_withdrawn: "A registered prefix was withdrawn.",
};

/** Name of a class. */
export function className(value: EventClass): string {
  return WORDS[value];
}

/** What a class means, in one sentence. */
export function classMeaning(value: EventClass): string {
  return MEANING[value];
}

/** Whether it was seen on the path to a target. A silent site has none: there is no before and after, and nothing it cost. */
export function isOfPath(event: Pick<PathEvent, "target">): boolean {
  return event.target !== "";
}

/** How it ended, in words; nothing while it goes on, or where there is none to say. */
export function endingWords(event: Pick<PathEvent, "target" | "ending">): string | undefined {
  if (!isOfPath(event) && event.ending === "recovery") return "then heard again";
  if (!isOfPath(event) && event.ending === "not_observed") return "then it had no agent any more";
  return ENDINGS[event.ending ?? ""];
}

const ENDINGS: Partial<Record<string, string>> = {
  recovery: "then back on the old path",
  recovered: "then back on the old path",
  new_normal: "then the new path became the usual one",
  adopted: "then the new path became the usual one",
  unconfirmed: "then it was gone before it was sure",
  not_observed: "then nobody looked for a day",
  agent_revoked: "then the agent was revoked",
};

/** What moved from where to where, at the level of the class. */
export function movement(event: PathEvent): { before: string; after: string } {
  return { before: value(event, event.from, event.before), after: value(event, event.to, event.after) };
}

function value(event: PathEvent, told: string | null | undefined, identity: PathIdentity): string {
  if (told !== null && told !== undefined) return shortRouter(told);
  const metros = identity.ingress_metros.length > 0 ? identity.ingress_metros : identity.edge_metros;
  const asPath = identity.as_path.map((as) => `AS${as}`).join(" ");
  const read: Partial<Record<EventClass, string>> = {
    geo: metros.join(", "),
    partial_geo: metros.join(", "),
    local: identity.ingress_routers.map(shortRouter).join(", "),
    provider: asPath,
    uplink: asPath,
  };
  const found = read[event.class] ?? "";
  return found === "" ? "not seen" : found;
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
