/** Events of a window as spans on its time axis, one lane for each class. */
import { useElementSize } from "@mantine/hooks";

import type { EventClass, PathEvent, Window } from "../api/types";
import { className } from "../lib/events";
import { duration } from "../lib/format";
import { clockTime, shortTime } from "../lib/time";

const LANES: readonly EventClass[] = ["geo_failover", "local_failover", "as_path_shift"];
const LANE_HEIGHT = 22;
const LABEL_WIDTH = 104;
const AXIS_HEIGHT = 22;

export function EventRibbon({ events, window, onOpen }: { events: readonly PathEvent[]; window: Window; onOpen: (id: string) => void }) {
  const { ref, width } = useElementSize();
  const height = LANES.length * LANE_HEIGHT + AXIS_HEIGHT;
  const span = Math.max(1, window.to_unix_ms - window.from_unix_ms);
  const inner = Math.max(1, width - LABEL_WIDTH - 14);
  const x = (ms: number) => LABEL_WIDTH + (Math.min(Math.max(ms - window.from_unix_ms, 0), span) / span) * inner;
  const ticks = Array.from({ length: width > 700 ? 7 : 4 }, (_, index, count = width > 700 ? 6 : 3) => window.from_unix_ms + (span * index) / count);
  return (
    <div ref={ref} style={{ height }}>
      {width > 0 && (
        <svg width={width} height={height} role="group" aria-label="Events on the time axis of the window. The events page lists them.">
          {LANES.map((lane, index) => (
            <g key={lane}>
              <text x={0} y={index * LANE_HEIGHT + 15} fontSize={12} fill="var(--fm-muted)">
                {className(lane)}
              </text>
              <line x1={LABEL_WIDTH} x2={LABEL_WIDTH + inner} y1={index * LANE_HEIGHT + 11} y2={index * LANE_HEIGHT + 11} stroke="var(--fm-line)" />
            </g>
          ))}
          {ticks.map((tick, index) => (
            <g key={index}>
              <line x1={x(tick)} x2={x(tick)} y1={0} y2={LANES.length * LANE_HEIGHT} stroke="var(--fm-line)" />
              <text x={x(tick)} y={height - 6} fontSize={12} fill="var(--fm-muted)" textAnchor={index === 0 ? "start" : index === ticks.length - 1 ? "end" : "middle"}>
                {shortTime(tick, window.to_unix_ms)}
              </text>
            </g>
          ))}
          {events.map((event) => {
            const y = LANES.indexOf(event.class) * LANE_HEIGHT + 4;
            const from = x(event.first_novel_unix_ms);
            const to = x(event.ended_unix_ms ?? window.to_unix_ms);
            const open = event.state === "open";
            const label = `${event.text} From ${clockTime(event.first_novel_unix_ms)}, ${open ? "still open" : `for ${duration((event.ended_unix_ms ?? event.first_novel_unix_ms) - event.first_novel_unix_ms)}`}.`;
            return (
              <g
                key={event.event_id}
                role="link"
                tabIndex={0}
                aria-label={label}
                style={{ cursor: "pointer" }}
                onClick={() => { onOpen(event.event_id); }}
                onKeyDown={(key) => { if (key.key === "Enter") onOpen(event.event_id); }}
              >
                <title>{label}</title>
                <rect x={from - 3} y={y} width={Math.max(to - from, 0) + 6} height={14} rx={3} fill="var(--fm-shift-soft)" stroke="var(--fm-shift)" strokeWidth={open ? 2 : 1} />
                <rect x={from - 3} y={y} width={5} height={14} rx={2} fill="var(--fm-shift)" />
              </g>
            );
          })}
        </svg>
      )}
    </div>
  );
}
