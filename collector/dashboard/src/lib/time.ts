/** Times for people: local on the page, UTC on hover and in copies. */
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const shortDay = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** `10:02:41`. */
export function clockTime(ms: number): string {
  return clock.format(ms);
}

/** `10:02`. */
export function minuteTime(ms: number): string {
  return minute.format(ms);
}

/** `10:02` today, else `3 Nov 10:02`. */
export function shortTime(ms: number, nowMs: number): string {
  return sameDay(ms, nowMs) ? minute.format(ms) : `${shortDay.format(ms)} ${minute.format(ms)}`;
}

/** `Tuesday 3 November 2026`. */
export function dayName(ms: number): string {
  return day.format(ms).replace(",", "");
}

/** `2026-11-03 10:02:41 UTC`. */
export function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Whether two moments fall on one local day. */
export function sameDay(a: number, b: number): boolean {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

/** The windows that can be chosen, by the name the API and the address bar use. */
export const WINDOWS = ["15m", "1h", "6h", "12h", "1d", "7d", "30d"] as const;
export type WindowName = (typeof WINDOWS)[number];

const UNIT_MS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Length of a window in ms. */
export function windowMs(name: WindowName): number {
  return Number(name.slice(0, -1)) * (UNIT_MS[name.slice(-1)] ?? 0);
}

/** `last 15 min`, `last hour`, `last 7 days`: for sentences. */
export function windowWords(name: WindowName): string {
  const words: Record<WindowName, string> = {
    "15m": "last 15 min",
    "1h": "last hour",
    "6h": "last 6 h",
    "12h": "last 12 h",
    "1d": "last day",
    "7d": "last 7 days",
    "30d": "last 30 days",
  };
  return words[name];
}
