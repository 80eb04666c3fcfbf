// Waits until the collector has something to show: every agent reports, and the paths are learned.
import type { Agent } from "./fixtures.ts";

/** A lab that has just come up learns its paths in some four minutes; a slow machine gets ten. */
const DEADLINE_MS = 600_000;
const PAUSE_MS = 1_000;

export default async function waitUntilReady(): Promise<void> {
  const url = (process.env["FIRSTMILE_URL"] ?? "").replace(/\/$/, "");
  const deadline = Date.now() + DEADLINE_MS;
  let missing = "";
  while (Date.now() < deadline) {
    missing = await whatIsMissing(url);
    if (missing === "") return;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  throw new Error(`the collector at ${url} was not ready within ${DEADLINE_MS / 1000} s: ${missing}`);
}

async function whatIsMissing(url: string): Promise<string> {
  let agents: Agent[];
  try {
    const response = await fetch(`${url}/api/v1/agents`);
    if (!response.ok) return `GET /api/v1/agents answers ${response.status}`;
    agents = (await response.json()) as Agent[];
  } catch (error) {
    return `it does not answer (${String((error as Error).cause ?? error)})`;
  }
  if (agents.length === 0) return "it has no agents";
  const silent = agents.filter((agent) => agent.state !== "reporting");
  if (silent.length > 0) return `not reporting: ${silent.map((agent) => agent.hostname).join(", ")}`;
  const learning = agents.filter((agent) => agent.targets.length === 0 || agent.targets.some((target) => target.path_state === "learning"));
  return learning.length > 0 ? `still learning the paths: ${learning.map((agent) => agent.hostname).join(", ")}` : "";
}
