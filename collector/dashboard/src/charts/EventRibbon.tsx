/** Events of a window as spans on its time axis, one lane for each class. */
import { useElementSize } from "@mantine/hooks";

import type { EventClass, PathEvent, Window } from "../api/types";
import { className, openedAt } from "../lib/events";
import { duration } from "../lib/format";
import { cluster, type Cluster } from "../lib/ribbon";
import { clockTime, shortTime } from "../lib/time";

/** Always there, so that a quiet window looks like one; the others where something of them happened. */
const USUAL_LANES: readonly EventClass[] = ["geo", "local", "provider"];
const OTHER_LANES: readonly EventClass[] = ["unreachable", "uplink", "site_silent", "partial_geo", "redundancy_lost", "front_door_moved", "flapping", "latency", "loss", "ipdv", "congestion", "return_path_suspected"];
const LANE_HEIGHT = 22;
const LABEL_WIDTH = 132;
const AXIS_HEIGHT = 22;

export function EventRibbon({
  events,
  window,
  onOpen,
}: {
  events: readonly PathEvent[];
  window: Window;
  /** Gets the events of the mark that was chosen: one, or several that began together. */
  onOpen: (events: readonly PathEvent[]) => void;
}) {
  const { ref, width } = useElementSize();
  const lanes = [...USUAL_LANES, ...OTHER_LANES.filter((lane) => events.some((event) => event.class === lane))];
  const height = lanes.length * LANE_HEIGHT + AXIS_HEIGHT;
  const span = Math.max(1, window.to_unix_ms - window.from_unix_ms);
  const inner = Math.max(1, width - LABEL_WIDTH - 14);
  const x = (ms: number) => LABEL_WIDTH + (Math.min(Math.max(ms - window.from_unix_ms, 0), span) / span) * inner;
  const ticks = Array.from({ length: width > 700 ? 7 : 4 }, (_, index, count = width > 700 ? 6 : 3) => window.from_unix_ms + (span * index) / count);
  return (
    <div ref={ref} style={{ height }}>
      {width > 0 && (
        <svg width={width} height={height} role="group" aria-label="Events on the time axis of the window. The events page lists them.">
          {lanes.map((lane, index) => (
            <g key={lane}>
              <text x={0} y={index * LANE_HEIGHT + 15} fontSize={12} fill="var(--fm-muted)">
                {className(lane)}
              </text>
              <line x1={LABEL_WIDTH} x2={LABEL_WIDTH + inner} y1={index * LANE_HEIGHT + 11} y2={index * LANE_HEIGHT + 11} stroke="var(--fm-line)" />
            </g>
          ))}
          {ticks.map((tick, index) => (
            <g key={index}>
              <line x1={x(tick)} x2={x(tick)} y1={0} y2={lanes.length * LANE_HEIGHT} stroke="var(--fm-line)" />
              <text x={x(tick)} y={height - 6} fontSize={12} fill="var(--fm-muted)" textAnchor={index === 0 ? "start" : index === ticks.length - 1 ? "end" : "middle"}>
                {shortTime(tick, window.to_unix_ms)}
              </text>
            </g>
          ))}
          {cluster(events, (event) => x(event.first_novel_unix_ms)).map((group) => (
            <GroupMark
              key={group.events[0].event_id}
              group={group}
              y={lanes.indexOf(group.events[0].class) * LANE_HEIGHT + 3}
              to={Math.max(...group.events.map((event) => x(event.ended_unix_ms ?? window.to_unix_ms)))}
              onOpen={onOpen}
            />
          ))}
        </svg>
      )}
    </div>
  );
}

function GroupMark({ group, y, to, onOpen }: { group: Cluster; y: number; to: number; onOpen: (events: readonly PathEvent[]) => void }) {
  const { events, x } = group;
  const open = events.some((event) => event.state === "open");
  const label = events.length > 1 ? `${events.length} events from ${clockTime(events[0].first_novel_unix_ms)}: ${className(events[0].class)}` : sentence(events[0]);
  const width = Math.max(to - x, 0) + 6;
  return (
    <g
      role="link"
      tabIndex={0}
      aria-label={label}
      style={{ cursor: "pointer" }}
      onClick={() => { onOpen(events); }}
      onKeyDown={(key) => { if (key.key === "Enter") onOpen(events); }}
    >
      <title>{label}</title>
      <rect x={x - 3} y={y} width={width} height={16} rx={3} fill="var(--fm-shift-soft)" stroke="var(--fm-shift)" strokeWidth={open ? 2 : 1} />
      <rect x={x - 3} y={y} width={5} height={16} rx={2} fill="var(--fm-shift)" />
      {events.length > 1 && (
        // The count stands inside where there is room, else before the mark.
        <text x={width > 34 ? x + 8 : x - 7} y={y + 12} fontSize={11.5} fontWeight={600} textAnchor={width > 34 ? "start" : "end"} fill="var(--fm-shift)">
          {events.length}
        </text>
      )}
    </g>
  );
}

function sentence(event: PathEvent): string {
  const lasted = event.state === "open" ? "still open" : `for ${duration((event.ended_unix_ms ?? openedAt(event)) - openedAt(event))}`;
  return `${event.text}. From ${clockTime(openedAt(event))}, ${lasted}.`;
}
