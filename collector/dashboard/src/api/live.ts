/**
 * Keeps the page current: server-sent events while the stream stands, polling while it does not.
 *
 * A `reports` message renews figures and lists at most every few seconds, an `event` message puts the event into the
 * lists at once. The stream reconnects by itself; each reconnection renews everything it may have missed.
 */
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { EVENTS, FIGURES } from "./queries";
import type { Live, PathEvent } from "./types";

const RENEW_FIGURES_MS = 5000;
const POLL_MS = 10_000;

export type Liveness = "off" | "connecting" | "streaming" | "polling";

/** Follows the collector while `enabled`. */
export function useLive(enabled: boolean): Liveness {
  const client = useQueryClient();
  const [stream, setStream] = useState<Liveness>("connecting");

  useEffect(() => {
    if (!enabled) return;
    const source = new EventSource("/api/v1/live");
    // Events too: a page that was too slow for the stream is told of `reports` only.
    const renew = throttle(() => {
      void client.invalidateQueries({ queryKey: [FIGURES] });
      void client.invalidateQueries({ queryKey: [EVENTS] });
    }, RENEW_FIGURES_MS);
    let lost = false;
    source.onopen = () => {
      setStream("streaming");
      if (lost) void client.invalidateQueries();
      lost = false;
    };
    source.onerror = () => {
      setStream("polling");
      if (!lost) void client.invalidateQueries({ queryKey: ["status"] });
      lost = true;
      // A refused stream is closed for good by the browser; polling goes on below.
    };
    source.addEventListener("event", (message: MessageEvent<string>) => {
      const live = parse(message);
      if (live?.kind === "event") accept(client, live.event);
    });
    source.addEventListener("incident", (message: MessageEvent<string>) => {
      const live = parse(message);
      if (live?.kind !== "incident") return;
      void client.invalidateQueries({ queryKey: [EVENTS, "incidents"] });
      void client.invalidateQueries({ queryKey: [EVENTS, "incident", live.incident_id] });
    });
    source.addEventListener("reports", renew.call);
    return () => {
      source.close();
      renew.cancel();
      setStream("connecting");
    };
  }, [client, enabled]);

  useEffect(() => {
    if (!enabled) return;
    // Status always polls: silence of an agent is the absence of messages. The rest only without a stream.
    const timer = setInterval(() => {
      void client.invalidateQueries(stream === "streaming" ? { queryKey: ["status"] } : undefined);
    }, POLL_MS);
    return () => {
      clearInterval(timer);
    };
  }, [client, enabled, stream]);

  return enabled ? stream : "off";
}

/** Puts a new or changed event into every list that may show it. Lists stay newest first. */
export function merge(list: readonly PathEvent[], event: PathEvent): readonly PathEvent[] {
  const others = list.filter((other) => other.event_id !== event.event_id);
  return [event, ...others].sort((a, b) => b.first_novel_unix_ms - a.first_novel_unix_ms);
}

function accept(client: QueryClient, event: PathEvent): void {
  client.setQueriesData<readonly PathEvent[]>({ queryKey: [EVENTS, "list"] }, (list) => list && merge(list, event));
  client.setQueryData([EVENTS, "one", event.event_id], event);
  void client.invalidateQueries({ queryKey: [FIGURES] });
}

function parse(message: MessageEvent<string>): Live | undefined {
  try {
    return JSON.parse(message.data) as Live;
  } catch {
    return undefined;
  }
}

function throttle(action: () => void, pauseMs: number): { call: () => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;
  return {
    call: () => {
      if (timer !== undefined) return;
      const wait = Math.max(0, last + pauseMs - Date.now());
      timer = setTimeout(() => {
        timer = undefined;
        last = Date.now();
        action();
      }, wait);
    },
    cancel: () => {
      clearTimeout(timer);
    },
  };
}
