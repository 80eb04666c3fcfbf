/**
 * Numbers for people: units everywhere, three significant figures, `<0.1 ms` rather than `0`.
 *
 * RTTs are always in ms, so that one view never mixes units. A missing value is an en dash, never a zero.
 */
export const MISSING = "–";

const NARROW_SPACE = "\u202f";
const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** An RTT in microseconds as text in ms. */
export function rtt(us: number | null | undefined): string {
  if (us === null || us === undefined) return MISSING;
  if (us < 100) return `<0.1${NARROW_SPACE}ms`;
  return `${significant(us / 1000)}${NARROW_SPACE}ms`;
}

/** A difference of RTTs in microseconds, with its sign. */
export function rttChange(us: number): string {
  const size = Math.abs(us);
  const sign = us < 0 ? "−" : "+";
  return size < 100 ? `±<0.1${NARROW_SPACE}ms` : `${sign}${significant(size / 1000)}${NARROW_SPACE}ms`;
}

/** A share from 0 to 1 as per cent. */
export function ratio(value: number | null | undefined): string {
  if (value === null || value === undefined) return MISSING;
  if (value === 0) return `0${NARROW_SPACE}%`;
  const percent = value * 100;
  return percent < 0.1 ? `<0.1${NARROW_SPACE}%` : `${significant(percent)}${NARROW_SPACE}%`;
}

/** A count with thousands separated. */
export function count(value: number): string {
  return grouped.format(value);
}

/** A count with its noun: `1 agent`, `2 agents`. */
export function plural(value: number, noun: string, nouns = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : nouns}`;
}

/** A place in a row: `1st`, `2nd`, `3rd`, `11th`. */
export function ordinal(value: number): string {
  const endings: Record<string, string> = { one: "st", two: "nd", few: "rd" };
  return `${count(value)}${endings[ordinals.select(value)] ?? "th"}`;
}

/** How `now` stands to what was usual, or nothing where either is unknown or the difference is within noise. */
export function change(now: number | null | undefined, before: number | null | undefined): Change | undefined {
  if (now === null || now === undefined || before === null || before === undefined || before <= 0) return undefined;
  const factor = now / before;
  const noise = Math.abs(now - before) < 500 || Math.abs(factor - 1) < 0.05;
  if (noise) return { text: "as usual", direction: "same" };
  if (factor >= 2) return { text: `${significant(factor)}×`, direction: "up" };
  const percent = Math.round(Math.abs(factor - 1) * 100);
  return factor > 1
    ? { text: `+${percent}${NARROW_SPACE}%`, direction: "up" }
    : { text: `−${percent}${NARROW_SPACE}%`, direction: "down" };
}

/** A comparison with the span before. */
export interface Change {
  text: string;
  direction: "up" | "down" | "same";
}

/** A span of time in its two largest units: `4 min 10 s`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return `0${NARROW_SPACE}s`;
  return parts
    .slice(first, first + 2)
    .filter(([value], index) => index === 0 || value > 0)
    .map(([value, unit]) => `${value}${NARROW_SPACE}${unit}`)
    .join(" ");
}

/** How long ago, coarse enough not to flicker: `just now`, `40 s ago`, `3 min ago`. */
export function ago(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (ms < 5000) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 10_000) * 10 || 5}${NARROW_SPACE}s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)}${NARROW_SPACE}min ago`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)}${NARROW_SPACE}h ago`;
  return `${Math.floor(ms / 86_400_000)}${NARROW_SPACE}d ago`;
}

/** An AS number as RFC 5396 writes it in asplain, with its AS prefix. */
export function asn(value: number | null | undefined): string {
  return value === null || value === undefined ? MISSING : `AS${value}`;
}

/** Three significant figures, thousands kept whole. */
export function significant(value: number): string {
  const size = Math.abs(value);
  // The thresholds are those of the rounded text: 9.996 is `10.0`, not `10.00`.
  if (size >= 99.95) return grouped.format(value);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.0995) return value.toFixed(2);
  return size === 0 ? "0" : value.toFixed(3);
}
