import { createRootRoute, createRoute, createRouter, lazyRouteComponent, retainSearchParams } from "@tanstack/react-router";

import { Frame } from "./components/Frame";
import { Broken, NotFound } from "./components/states";
import { PHASES, oneOf, parseSearch } from "./lib/search";
import type { GeographyLevel } from "./api/types";

export const LEVELS = ["country", "subdivision", "metro", "site"] as const satisfies readonly GeographyLevel[];

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
  validateSearch: (raw: Record<string, unknown>): { level?: GeographyLevel } => {
    const level = oneOf(LEVELS, raw.level);
    return level && level !== "country" ? { level } : {};
  },
  component: lazyRouteComponent(() => import("./pages/World"), "World"),
});

const latency = createRoute({
  getParentRoute: () => rootRoute,
  path: "/latency/$",
  validateSearch: (raw: Record<string, unknown>): { phase?: (typeof PHASES)[number] } => {
    const phase = oneOf(PHASES, raw.phase);
    return phase && phase !== "ttfb" ? { phase } : {};
  },
  component: lazyRouteComponent(() => import("./pages/Latency"), "Latency"),
});

const events = createRoute({
  getParentRoute: () => rootRoute,
  path: "/events",
  component: lazyRouteComponent(() => import("./pages/Events"), "Events"),
});

const event = createRoute({
  getParentRoute: () => rootRoute,
  path: "/events/$id",
  component: lazyRouteComponent(() => import("./pages/EventPage"), "EventPage"),
});

const paths = createRoute({
  getParentRoute: () => rootRoute,
  path: "/paths",
  component: lazyRouteComponent(() => import("./pages/Paths"), "Paths"),
});

const agents = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents",
  component: lazyRouteComponent(() => import("./pages/Agents"), "Agents"),
});

const agent = createRoute({
  getParentRoute: () => rootRoute,
  path: "/agents/$id",
  component: lazyRouteComponent(() => import("./pages/AgentPage"), "AgentPage"),
});

const admin = createRoute({
  getParentRoute: () => rootRoute,
  path: "/admin",
  component: lazyRouteComponent(() => import("./pages/Admin"), "Admin"),
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([world, latency, events, event, paths, agents, agent, admin]),
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
