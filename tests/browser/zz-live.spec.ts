// Last by name: it fails a part of the lab's network, and the path stays moved.
import { exec } from "node:child_process";
import { promisify } from "node:util";

import { expect, test, type Event } from "./fixtures.ts";

const run = promisify(exec);
/** A failover is flagged within a minute of the learned state; the rest is for the command itself. */
const FLAGGED_WITHIN_MS = 90_000;

test("an event that opens appears without reloading", async ({ page, api }) => {
  const command = process.env["FIRSTMILE_LAB_EVENT"];
  test.skip(!command, "FIRSTMILE_LAB_EVENT is not set: the command that fails a part of the lab, such as `cargo xtask lab event pop-down`");
  test.setTimeout(FLAGGED_WITHIN_MS + 60_000);
  // One that closed a little while ago may open again instead of a new one: what counts is what was not open.
  const open = (await api.get<Event[]>("/events?window=1d")).filter((event) => event.state === "open");
  await page.goto("/events?window=1d");
  await expect(page.getByRole("heading", { level: 1 })).not.toHaveText("Events");
  await page.evaluate(() => {
    document.body.dataset["untouched"] = "yes";
  });

  await run(command!);

  const fresh = page.locator(["article[data-state=open]", ...open.map((event) => `:not([data-event="${event.event_id}"])`)].join(""));
  await expect(fresh.filter({ hasText: "Geo failover" }).first()).toBeVisible({ timeout: FLAGGED_WITHIN_MS });
  await expect(fresh.first()).toContainText("→");
  expect(await page.evaluate(() => document.body.dataset["untouched"]), "the page was loaded anew").toBe("yes");
});
