import { clockTime, shortTime, utc } from "../lib/time";
import { useNow } from "./useNow";

/** A moment in local time; UTC on hover. */
export function Time({ ms, exact = false }: { ms: number; exact?: boolean }) {
  const now = useNow();
  const day = shortTime(ms, now);
  return (
    <time dateTime={new Date(ms).toISOString()} title={utc(ms)} className="fm-nowrap">
      {exact ? day.slice(0, -5) + clockTime(ms) : day}
    </time>
  );
}
