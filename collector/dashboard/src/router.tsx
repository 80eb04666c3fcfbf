import { createRootRoute, createRoute, createRouter, lazyRouteComponent, retainSearchParams } from "@tanstack/react-router";

import { Frame } from "./components/Frame";
import { Broken, NotFound } from "./components/states";
import { PHASES, oneOf, parseSearch } from "./lib/search";
import type { GeographyLevel } from "./api/types";

export const LEVELS = ["country", "subdivision", "metro", "site"] as const satisfies readonly GeographyLevel[];

/** Each page is a file of its own, read when it is first opened. */
const PAGES = {
  World: () => import("./pages/World"),
  Latency: () => import("./pages/Latency"),
  Events: () => import("./pages/Events"),
  EventPage: () => import("./pages/EventPage"),
  Incidents: () => import("./pages/Incidents"),
  IncidentPage: () => import("./pages/IncidentPage"),
  Prefixes: () => import("./pages/Prefixes"),
  Paths: () => import("./pages/Paths"),
  Agents: () => import("./pages/Agents"),
  AgentPage: () => import("./pages/AgentPage"),
  Admin: () => import("./pages/Admin"),
};

/** Reads the other pages in a quiet moment: they must open on the day the collector does not answer. */
export function readPagesAhead(): void {
  setTimeout(() => {
    // A page that cannot be read now is tried again when it is opened, and says so if it fails then.
    void Promise.allSettled(Object.values(PAGES).map((read) => read())).then(() => {
      document.documentElement.dataset.pages = "read";
    });
  }, 1500);
}

const rootRoute = createRootRoute({
  component: Frame,
  notFoundComponent: NotFound,
  errorComponent: Broken,
  validateSearch: parseSearch,
  search: { middlewares: [retainSearchParams(["window", "protocol", "target", "geography", "live"])] },
});

const world = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  validateSearch: (raw: Record<string, unknown>): { level?: GeographyLevel | undefined } => ({
    // Said even when it is undefined: what is left out keeps the raw value of the link.
    level: oneOf(LEVELS, raw.level),
  }),
  component: lazyRouteComponent(PAGES.World, "World"),
});

const latency = createRoute({
  getParentRoute: () => rootRoute,
  path: "/latency/$",
  validateSearch: (raw: Record<string, unknown>): { phase?: (typeof PHASES)[number] | undefined } => ({ phase: oneOf(PHASES, raw.phase) }),
  component: lazyRouteComponent(PAGES.Latency, "Latency"),
});

const events = createRoute({
  getParentRoute: () => rootRoute,
  path: "/events",
  component: lazyRouteComponent(PAGES.Events, "Events"),
});

const event = createRoute({
  getParentRoute: () => rootRoute,
  path: "/events/$id",
  component: lazyRouteComponent(PAGES.EventPage, "EventPage"),
});

const incidents = createRoute({
  getParentRoute: () => rootRoute,
  path: "/incidents",
  component: lazyRouteComponent(PAGES.Incidents, "Incidents"),
});

const incident = createRoute({
  getParentRoute: () => rootRoute,
  path: "/incidents/$id",
  component: lazyRouteComponent(PAGES.IncidentPage, "IncidentPage"),
});

const paths = createRoute({
  getParentRoute: () => rootRoute,
  path: "/paths",
  component: lazyRouteComponent(PAGES.Paths, "Paths"),
});

const prefixes = createRoute({
  getParentRoute: () => rootRoute,
  path: "/prefixes",
  component: lazyRouteComponent(PAGES.Prefixes, "Prefixes"),
});

const agents = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents",
  component: lazyRouteComponent(PAGES.Agents, "Agents"),
});

const agent = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents/$id",
  component: lazyRouteComponent(PAGES.AgentPage, "AgentPage"),
});

const admin = createRoute({
  getParentRoute: () => rootRoute,
  path: "/admin",
  component: lazyRouteComponent(PAGES.Admin, "Admin"),
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([world, latency, events, event, incidents, incident, paths, prefixes, agents, agent, admin]),
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
