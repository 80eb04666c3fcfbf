/** Every question the pages ask, with its key, so that live messages know what to renew. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { get } from "./client";
import type {
  Agent,
  EventPaths,
  GeographyLevel,
  GeographyReport,
  Incident,
  IncidentMarks,
  IncidentReport,
  LatencyReport,
  Machine,
  PathEvent,
  PathReport,
  Pop,
  RegisteredPrefix,
  RouteStatistics,
  RoutingFeed,
  RoutingVerdict,
  Site,
  Status,
} from "./types";

/** First part of the keys whose answers change with new reports. */
export const FIGURES = "figures";
/** First part of the keys whose answers change with events. */
export const EVENTS = "events";

export const statusQuery = queryOptions({
  queryKey: ["status"],
  queryFn: ({ signal }) => get<Status>("/status", {}, signal),
});

export function geographiesQuery(ask: {
  level: GeographyLevel;
  window: string;
  protocol: string;
  target: string | undefined;
  country: string | undefined;
}) {
  return queryOptions({
    queryKey: [FIGURES, "geographies", ask],
    queryFn: ({ signal }) => get<GeographyReport>("/geographies", ask, signal),
    placeholderData: keepPreviousData,
  });
}

export function latencyQuery(ask: {
  scope: string;
  window: string;
  protocol: string;
  phase: string | undefined;
  target: string | undefined;
}) {
  return queryOptions({
    queryKey: [FIGURES, "latency", ask],
    queryFn: ({ signal }) => get<LatencyReport>("/latency", { ...ask, step: "auto" }, signal),
    // The same scope keeps its chart while a new window loads; another scope's chart would be a lie.
    placeholderData: (previous, query) => {
      const asked = query?.queryKey[2] as { scope: string; protocol: string } | undefined;
      return asked?.scope === ask.scope && asked.protocol === ask.protocol ? previous : undefined;
    },
  });
}

export const sitesQuery = queryOptions({
  queryKey: ["sites"],
  queryFn: ({ signal }) => get<readonly Site[]>("/sites", {}, signal),
});

export const agentsQuery = queryOptions({
  queryKey: [FIGURES, "agents"],
  queryFn: ({ signal }) => get<readonly Agent[]>("/agents", {}, signal),
});

export function agentQuery(id: string) {
  return queryOptions({
    queryKey: [FIGURES, "agent", id],
    queryFn: ({ signal }) => get<Agent>(`/agents/${encodeURIComponent(id)}`, {}, signal),
  });
}

export function machineQuery(id: string) {
  return queryOptions({
    queryKey: [FIGURES, "machine", id],
    queryFn: ({ signal }) => get<Machine>(`/agents/${encodeURIComponent(id)}/machine`, {}, signal),
  });
}

export function pathQuery(agentId: string, target: string) {
  return queryOptions({
    queryKey: [FIGURES, "path", agentId, target],
    queryFn: ({ signal }) => get<PathReport>(`/agents/${encodeURIComponent(agentId)}/path`, { target }, signal),
  });
}

export function eventsQuery(window: string) {
  return queryOptions({
    queryKey: [EVENTS, "list", window],
    queryFn: ({ signal }) => get<readonly PathEvent[]>("/events", { window }, signal),
    placeholderData: keepPreviousData,
  });
}

export function eventQuery(id: string) {
  return queryOptions({
    queryKey: [EVENTS, "one", id],
    queryFn: ({ signal }) => get<PathEvent>(`/events/${encodeURIComponent(id)}`, {}, signal),
  });
}

export function incidentMarksQuery(id: string) {
  return queryOptions({
    queryKey: ["incidents", "marks", id],
    queryFn: ({ signal }) => get<IncidentMarks>(`/incidents/${encodeURIComponent(id)}/marks`, {}, signal),
  });
}

export function eventPathsQuery(id: string) {
  return queryOptions({
    queryKey: [EVENTS, "paths", id],
    queryFn: ({ signal }) => get<EventPaths>(`/events/${encodeURIComponent(id)}/paths`, {}, signal),
  });
}

export function incidentsQuery(window: string) {
  return queryOptions({
    queryKey: [EVENTS, "incidents", window],
    queryFn: ({ signal }) => get<readonly Incident[]>("/incidents", { window }, signal),
    placeholderData: keepPreviousData,
  });
}

export function incidentQuery(id: string) {
  return queryOptions({
    queryKey: [EVENTS, "incident", id],
    queryFn: ({ signal }) => get<IncidentReport>(`/incidents/${encodeURIComponent(id)}`, {}, signal),
  });
}

export const prefixesQuery = queryOptions({
  queryKey: [EVENTS, "prefixes"],
  queryFn: ({ signal }) => get<readonly RegisteredPrefix[]>("/prefixes", {}, signal),
  refetchInterval: 30_000,
});

export const feedsQuery = queryOptions({
  queryKey: [EVENTS, "feeds"],
  queryFn: ({ signal }) => get<readonly RoutingFeed[]>("/routing/feeds", {}, signal),
  refetchInterval: 15_000,
});

export function verdictsQuery(window: string) {
  return queryOptions({
    queryKey: [EVENTS, "verdicts", window],
    queryFn: ({ signal }) => get<readonly RoutingVerdict[]>("/routing/verdicts", { window }, signal),
    placeholderData: keepPreviousData,
  });
}

/** How routes to registered prefixes fared this month. */
export const routeStatisticsQuery = queryOptions({
  queryKey: [EVENTS, "route statistics"],
  queryFn: ({ signal }) => get<readonly RouteStatistics[]>("/routing/statistics", {}, signal),
});

export const popsQuery = queryOptions({
  queryKey: ["pops"],
  queryFn: ({ signal }) => get<readonly Pop[]>("/pops", {}, signal),
  staleTime: Infinity,
});
