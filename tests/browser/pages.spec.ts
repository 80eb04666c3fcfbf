import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { expect, literally, test, type Agent, type Event, type Site } from "./fixtures.ts";

test("world shows every site in the table and on the map", async ({ page, api }) => {
  const agents = await api.get<Agent[]>("/agents");
  const sites = new Map(agents.map((agent) => [agent.site.site_id, agent.site]));
  expect(sites.size, "the collector has no agents to show").toBeGreaterThan(0);
  await page.goto("/?level=site");
  const table = page.getByRole("table", { name: /worst first/ });
  const map = page.getByRole("region", { name: "Map" });
  for (const site of sites.values()) {
    await expect(table.getByRole("link", { name: site.name, exact: true })).toBeVisible();
    if (site.latitude !== null) await expect(map.getByRole("link", { name: new RegExp(`^${literally(site.name)}: p50`) })).toHaveCount(1);
  }
  await expect(table.locator("tbody tr").first()).toContainText(/\d\s*ms/);
  await expect(page.getByRole("heading", { level: 1 })).toContainText(/p50 .*ms, p95 .*ms, loss/);
});

test("world's level switch is in the address and regroups the table", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("radiogroup", { name: "Level of the table" }).getByText("Metro").click();
  await expect(page).toHaveURL(/level=metro/);
  await expect(page.getByRole("columnheader", { name: "Metro" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("columnheader", { name: "Metro" })).toBeVisible();
});

test("latency of a site has a headline, a drawn chart and the same numbers as a table", async ({ page, api }) => {
  const { agent } = await api.traced();
  const report = await api.get<{ points: { figures: { n: number } }[] }>(`/latency?scope=site:${agent.site.site_id}&window=15m&protocol=tcp&step=auto`);
  expect(report.points.length, "the collector has no points for this site").toBeGreaterThan(0);
  await page.goto(`/latency/site:${agent.site.site_id}?window=15m`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText(new RegExp(`^${literally(agent.site.name)}: p50 .*ms`));
  const chart = page.getByRole("img", { name: /RTT and loss of/ });
  await expect(chart).toBeVisible();
  const painted = await chart.locator("canvas").first().evaluate((canvas: HTMLCanvasElement) => {
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    // Blue of the median line: clearly bluer than red.
    let blue = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at + 3]! > 128 && data[at + 2]! > data[at]! + 60) blue += 1;
    return blue;
  });
  expect(painted, "no pixel of the median line").toBeGreaterThan(0);
  await page.getByRole("radiogroup", { name: "View" }).getByText("Table").click();
  const rows = page.getByRole("table", { name: /by step/ }).locator("tbody tr");
  await expect(rows.first()).toContainText(/\d\s*ms/);
  expect(Math.abs((await rows.count()) - report.points.length)).toBeLessThanOrEqual(2);
});

test("the chart's crosshair moves with the arrow keys", async ({ page, api }) => {
  const { agent } = await api.traced();
  await page.goto(`/latency/site:${agent.site.site_id}?window=15m`);
  const chart = page.getByRole("img", { name: /RTT and loss of/ });
  await expect(page.getByText("latest step")).toBeVisible();
  await chart.focus();
  await page.keyboard.press("ArrowLeft");
  await expect(page.getByText(/^step of \d+ s$/)).toBeVisible();
});

test("a protocol that is never answered is said, not painted as loss", async ({ page, api }) => {
  const { agent } = await api.traced();
  const report = await api.get<{ protocols: { protocol: string; answered_here: boolean }[] }>(`/latency?scope=site:${agent.site.site_id}&window=15m&protocol=tcp&step=auto`);
  await page.goto(`/latency/site:${agent.site.site_id}?window=15m`);
  const chooser = page.getByRole("radiogroup", { name: "Protocol of the chart" });
  for (const { protocol, answered_here: answered } of report.protocols) {
    const title = chooser.locator("span[title]").filter({ hasText: new RegExp(`^${protocol.toUpperCase()}$`) });
    if (answered) await expect(title).toHaveAttribute("title", /probes$/);
    else await expect(title).toHaveAttribute("title", "Not answered here");
  }
});

test("paths list every hop with its name, and silent ones as silent", async ({ page, api }) => {
  const { agent, target, path } = await api.traced();
  await page.goto(`/paths?agent=${agent.agent_id}&target=${encodeURIComponent(target)}`);
  const table = page.getByRole("table", { name: "Hops of the path" });
  await expect(table.locator("tbody tr").first()).toBeVisible();
  const names = path.hops.flatMap((hop) => hop.nodes.flatMap((node) => node.name ?? []));
  for (const name of new Set(names)) await expect(table.getByText(name, { exact: true }).first()).toBeVisible();
  const silent = path.hops.filter((hop) => hop.nodes.every((node) => node.address === null)).map((hop) => hop.ttl);
  for (const ttl of silent) await expect(table.locator(`tr[data-hop="${ttl}"]`)).toContainText("no reply");
  await expect(page.getByRole("heading", { level: 1 })).toContainText(`${path.site_name} to ${target}`);
});

test("agents are listed with version and last seen", async ({ page, api }) => {
  const agents = await api.get<Agent[]>("/agents");
  await page.goto("/agents");
  const table = page.getByRole("table", { name: "Agents" });
  for (const agent of agents) {
    const row = table.getByRole("row").filter({ has: page.locator(`a[href*="/agents/${agent.agent_id}"]`) });
    await expect(row).toContainText(agent.version);
    await expect(row).toContainText(agent.last_seen_unix_ms === null ? "never" : /just now|ago/);
    await expect(row).toContainText(agent.state);
  }
  const reporting = agents.filter((agent) => agent.state === "reporting").length;
  await expect(page.getByRole("heading", { level: 1 })).toContainText(`${reporting} of ${agents.length} agent`);
});

test("an agent's page shows its targets", async ({ page, api }) => {
  const { agent } = await api.traced();
  await page.goto(`/agents/${agent.agent_id}`);
  const table = page.getByRole("table", { name: "Targets of the agent" });
  for (const target of agent.targets) await expect(table.getByRole("link", { name: target.name, exact: true })).toBeVisible();
});

test("a fresh join string comes with the commands that use it", async ({ page, api }) => {
  const [site] = await api.get<Site[]>("/sites");
  await page.goto("/agents");
  await page.getByRole("button", { name: "Add an agent" }).click();
  await page.getByRole("combobox", { name: "Site" }).fill(site!.name);
  await page.getByRole("button", { name: "Make a join string" }).click();
  const commands = page.locator("pre");
  await expect(commands).toHaveCount(3);
  const joinString = (await commands.nth(2).textContent()) ?? "";
  expect(joinString.length).toBeGreaterThan(20);
  await expect(commands.nth(0)).toHaveText(`sudo install -m 600 /dev/stdin /etc/firstmile/join <<'END'\n${joinString}\nEND`);
  await expect(commands.nth(1)).toHaveText(`firstmile-agent enroll - <<'END'\n${joinString}\nEND`);
});

test("a site's place can be edited and shows at once", async ({ page, api }) => {
  const [site] = await api.get<Site[]>("/sites");
  await page.goto("/admin");
  try {
    await page.getByRole("button", { name: `Edit ${site!.name}` }).click();
    const form = page.getByRole("region", { name: `Edit ${site!.name}` });
    await form.getByRole("textbox", { name: "Metro" }).fill("Testville");
    await form.getByRole("button", { name: "Save" }).click();
    await expect(form).toHaveCount(0);
    await expect(page.getByRole("table", { name: "Sites" }).getByRole("row").filter({ hasText: site!.name })).toContainText("Testville");
  } finally {
    await api.patch(`/sites/${site!.site_id}`, { metro: site!.metro });
  }
});

test("search by keyboard leads to a site", async ({ page, api }) => {
  const { agent } = await api.traced();
  await page.goto("/events");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.keyboard.press("/");
  const box = page.getByRole("combobox", { name: /^Search/ });
  await expect(box).toBeFocused();
  await page.keyboard.type(agent.site.name);
  await expect(page.getByRole("option").first()).toContainText(agent.site.name);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`/latency/site(:|%3A)${agent.site.site_id}`));
  await expect(page.getByRole("heading", { level: 1 })).toContainText(agent.site.name);
});

test("the window holds across pages and is in the address", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("radiogroup", { name: "Time window" }).getByText("6 h", { exact: true }).click();
  await expect(page).toHaveURL(/window=6h/);
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Agents" }).click();
  await expect(page).toHaveURL(/\/agents\?.*window=6h/);
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Events" }).click();
  await expect(page.getByText(/last 6 h/).first()).toBeVisible();
});

test("events equal what the collector says", async ({ page, api }) => {
  const events = await api.get<Event[]>("/events?window=1d");
  await page.goto("/events?window=1d");
  await expect(page.getByRole("heading", { level: 1 })).not.toHaveText("Events");
  // What moved, to the first comma: the RTT after it is renewed while an event is open.
  for (const event of events) await expect(page.locator(`[data-event="${event.event_id}"]`)).toContainText(event.text.split(",")[0]!);
  if (events.length === 0) await expect(page.getByText("No path shift in the last day")).toBeVisible();
});

test("a registered prefix is on its page, with the rules that nobody can show", async ({ page, request }) => {
  const own = (process.env["FIRSTMILE_URL"] ?? "").replace(/\/$/, "");
  const service = `${own}/subscriptions/browser/resourceGroups/net/providers/Microsoft.Peering/peeringServices/branches`;
  const version = "api-version=2025-05-01";
  const put = async (path: string, properties: object) => {
    const made = await request.put(`${service}${path}?${version}`, { data: { location: "x", properties } });
    expect(made.ok(), await made.text()).toBe(true);
  };
  await put("", { peeringServiceLocation: "Switzerland", peeringServiceProvider: "Swisscom", providerPrimaryPeeringLocation: "Zurich" });
  try {
    await put("/prefixes/lan", { prefix: "198.51.100.0/24", peeringServicePrefixKey: "00000000-0000-0000-0000-000000000001" });
    await page.goto("/prefixes");
    const row = page.getByRole("table", { name: "Registered prefixes" }).getByRole("row", { name: /198\.51\.100\.0\/24/ });
    await expect(row).toContainText("branches");
    await expect(row).toContainText("key_mismatch");
    await expect(row).toContainText("none seen");
    await expect(page.getByRole("heading", { level: 1 })).toContainText(/prefix/i);
  } finally {
    const gone = await request.delete(`${service}?${version}`);
    expect(gone.status()).toBe(200);
  }
});

test("no page overflows a phone or a wide screen, in light and dark", async ({ page, api }) => {
  const { agent, target } = await api.traced();
  for (const [width, colorScheme] of [[390, "light"], [1280, "dark"], [1920, "light"]] as const) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    for (const address of addressesOf(agent, target)) {
      await page.goto(address);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      await expect(page.getByRole("status")).toHaveCount(0);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(beyond, `${address} at ${width} px`).toBeLessThanOrEqual(0);
    }
  }
});

test("no page breaks a rule of WCAG 2.2 A or AA that a machine can see, in light and dark", async ({ page, api }) => {
  test.setTimeout(120_000);
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const { agent, target } = await api.traced();
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const address of addressesOf(agent, target)) {
      await page.goto(address);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      await expect(page.getByRole("status")).toHaveCount(0);
      await page.evaluate(axe);
      const broken = await page.evaluate(async () => {
        const { axe: checker } = globalThis as unknown as { axe: { run: (root: Document, options: object) => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
        const { violations } = await checker.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
        return violations.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
      });
      expect(broken, `${address} in ${colorScheme}`).toEqual([]);
    }
  }
});

function addressesOf(agent: Agent, target: string): string[] {
  return ["/", `/latency/site:${agent.site.site_id}`, "/events", `/paths?agent=${agent.agent_id}&target=${encodeURIComponent(target)}`, "/agents", `/agents/${agent.agent_id}`, "/prefixes", "/admin"];
}
