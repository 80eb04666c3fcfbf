/** Scopes of a latency report: `world`, `country:NL`, `subdivision:NL-NH`, `metro:NL/Amsterdam`, `site:ID`, `agent:ID`. */
import type { Agent, GeographyLevel } from "../api/types";

/** The scope of a row of the geography table. */
export function scopeOf(level: GeographyLevel, key: string): string {
  return `${level}:${key}`;
}

/** Level and key of a scope, if it is one. */
export function parseScope(scope: string): { level: string; key: string } | undefined {
  if (scope === "world") return { level: "world", key: "" };
  const colon = scope.indexOf(":");
  const level = scope.slice(0, colon);
  const key = scope.slice(colon + 1);
  const known = ["country", "subdivision", "metro", "site", "agent"].includes(level);
  return colon > 0 && known && key !== "" ? { level, key } : undefined;
}

/** Whether an agent's data belong to a scope. */
export function inScope(scope: string, agent: Agent): boolean {
  const parsed = parseScope(scope);
  const { site } = agent;
  switch (parsed?.level) {
    case "world":
      return true;
    case "country":
      return (site.country ?? "unknown") === parsed.key;
    case "subdivision":
      return (site.subdivision ?? "unknown") === parsed.key;
    case "metro":
      return site.country && site.metro ? `${site.country}/${site.metro}` === parsed.key : parsed.key === "unknown";
    case "site":
      return site.site_id === parsed.key;
    case "agent":
      return agent.agent_id === parsed.key;
    case undefined:
    default:
      return false;
  }
}
