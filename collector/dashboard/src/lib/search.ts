/** The state of the page that lives in the address bar and holds across pages. */
import { WINDOWS, type WindowName } from "./time";

export const PROTOCOLS = ["tcp", "icmp", "https", "tls", "quic", "dns"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Defaults stay out of the address, so that a link carries only what was chosen. */
export interface PageSearch {
  window?: WindowName;
  protocol?: Protocol;
  target?: string;
  /** ISO 3166-1 alpha-2 country. */
  geography?: string;
  agent?: string;
  /** Absent: the page follows new data. */
  live?: "off";
}

export const DEFAULT_WINDOW: WindowName = "1h";
export const DEFAULT_PROTOCOL: Protocol = "tcp";

/** Takes what is valid and drops the rest: a bad link still opens. */
export function parseSearch(raw: Record<string, unknown>): PageSearch {
  const search: PageSearch = {};
  const window = oneOf(WINDOWS, raw.window);
  if (window && window !== DEFAULT_WINDOW) search.window = window;
  const protocol = oneOf(PROTOCOLS, raw.protocol);
  if (protocol && protocol !== DEFAULT_PROTOCOL) search.protocol = protocol;
  const target = word(raw.target);
  if (target) search.target = target;
  const geography = word(raw.geography);
  if (geography && /^[A-Za-z]{2}$/.test(geography)) search.geography = geography.toUpperCase();
  const agent = word(raw.agent);
  if (agent) search.agent = agent;
  if (raw.live === "off") search.live = "off";
  return search;
}

/** Takes a value of a fixed set, or nothing. */
export function oneOf<T extends string>(all: readonly T[], value: unknown): T | undefined {
  return all.find((one) => one === value);
}

function word(value: unknown): string | undefined {
  const text = typeof value === "number" ? String(value) : value;
  return typeof text === "string" && text.trim() !== "" ? text.trim() : undefined;
}

/** Phases of an HTTPS probe that have a latency of their own. */
export const PHASES = ["connect", "tls", "ttfb", "ttfb_warm"] as const;
