// What every test has: a gate to the collector, its API, and a page that must neither fail nor leave the collector's address.
import { test as base, expect, type APIRequestContext } from "@playwright/test";

import { Gate } from "./gate.ts";

export interface Site {
  site_id: string;
  name: string;
  metro: string | null;
  latitude: number | null;
}
export interface Agent {
  agent_id: string;
  hostname: string;
  version: string;
  state: string;
  last_seen_unix_ms: number | null;
  site: Site;
  targets: { name: string; state: string; path_state: string }[];
}
export interface Event {
  event_id: string;
  class: string;
  state: string;
  text: string;
  first_novel_unix_ms: number;
}
export interface Path {
  site_name: string;
  hops: { ttl: number; nodes: { address: string | null; name: string | null; ingress: boolean }[] }[];
}

/** The collector's API, asked directly: the truth that pages are held against. */
export class Api {
  constructor(
    private readonly request: APIRequestContext,
    private readonly url: string,
  ) {}

  async get<T>(path: string): Promise<T> {
    const response = await this.request.get(`${this.url}/api/v1${path}`);
    expect(response.status(), `GET ${path}: ${await response.text()}`).toBe(200);
    return (await response.json()) as T;
  }

  async patch(path: string, data: unknown): Promise<void> {
    const response = await this.request.patch(`${this.url}/api/v1${path}`, { data });
    expect(response.status(), `PATCH ${path}: ${await response.text()}`).toBe(200);
  }

  /** An agent and target whose path is known. */
  async traced(): Promise<{ agent: Agent; target: string; path: Path }> {
    for (const agent of await this.get<Agent[]>("/agents")) {
      for (const target of agent.targets) {
        const response = await this.request.get(`${this.url}/api/v1/agents/${agent.agent_id}/path?target=${encodeURIComponent(target.name)}`);
        if (response.status() !== 200) continue;
        const path = (await response.json()) as Path;
        if (path.hops.some((hop) => hop.nodes.some((node) => node.name))) return { agent, target: target.name, path };
      }
    }
    throw new Error("no agent has a path with a named hop: is the lab up, and past its first trace round?");
  }
}

export const test = base.extend<{ gate: Gate; api: Api; brokenOnPurpose: { now: boolean } }>({
  gate: async ({}, use) => {
    const gate = new Gate(new URL(process.env["FIRSTMILE_URL"] ?? ""));
    await gate.open();
    await use(gate);
    await gate.shut();
  },
  baseURL: async ({ gate }, use) => use(gate.url),
  api: async ({ request }, use) => use(new Api(request, (process.env["FIRSTMILE_URL"] ?? "").replace(/\/$/, ""))),
  brokenOnPurpose: async ({}, use) => use({ now: false }),
  page: async ({ page, gate, brokenOnPurpose }, use) => {
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(`uncaught: ${error.message}`));
    page.on("console", (message) => {
      if (message.type() === "error" && !brokenOnPurpose.now) faults.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(gate.url) && !url.startsWith("blob:") && !url.startsWith("data:")) faults.push(`request beyond the collector: ${url}`);
    });
    await use(page);
    expect(faults, "the page failed, or asked somebody else than the collector").toEqual([]);
  },
});

/** A text as a pattern that matches just it. */
export function literally(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}

export { expect };
