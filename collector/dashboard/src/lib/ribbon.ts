/** Events of one class that began so close together that their marks would cover each other. */
import type { PathEvent } from "../api/types";

export interface Cluster {
  events: [PathEvent, ...PathEvent[]];
  /** Where the first begins. */
  x: number;
}

const NEAR_PX = 14;

/** Groups events by class and place; a group spans no more than the width of a mark. */
export function cluster(events: readonly PathEvent[], place: (event: PathEvent) => number): Cluster[] {
  const clusters: Cluster[] = [];
  for (const event of [...events].sort((a, b) => a.first_novel_unix_ms - b.first_novel_unix_ms)) {
    const x = place(event);
    const near = clusters.find((one) => one.events[0].class === event.class && x - one.x <= NEAR_PX);
    if (near) near.events.push(event);
    else clusters.push({ events: [event], x });
  }
  return clusters;
}
