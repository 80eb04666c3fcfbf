import { expect, test } from "./fixtures.ts";

test("a dead collector is said on every page, and the page recovers by itself", async ({ page, gate, brokenOnPurpose }) => {
  // The pages that are not open are read ahead; the collector dies after that.
  await page.goto("/agents");
  await expect(page.getByRole("table", { name: "Agents" })).toBeVisible();
  await expect(page.locator("html[data-pages=read]")).toBeAttached();
  brokenOnPurpose.now = true;
  await gate.shut();
  const notice = page.getByRole("region", { name: "Notices" }).getByRole("alert");
  await expect(notice).toContainText("Collector not answering");
  // What was known stays readable, and says from when it is.
  await expect(notice).toContainText(/as of \d\d:\d\d/);
  await expect(page.getByRole("table", { name: "Agents" })).toBeVisible();

  // A page whose data were never loaded says what failed and offers to try again.
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Events" }).click();
  const failure = page.getByRole("alert").filter({ hasText: "Could not load the events" });
  await expect(failure).toContainText("GET /api/v1/events");

  await gate.open();
  await failure.getByRole("button", { name: "Try again" }).click();
  await expect(failure).toHaveCount(0);
  await expect(notice).toHaveCount(0);
});

test("an agent that does not exist is an error with its reason, not an empty page", async ({ page, brokenOnPurpose }) => {
  brokenOnPurpose.now = true;
  await page.goto("/agents/00000000-0000-4000-8000-000000000000");
  await expect(page.getByRole("alert").filter({ hasText: "Could not load the agent" })).toContainText(/status 40\d/);
});

test("an unknown address and a bad scope say so", async ({ page }) => {
  await page.goto("/no/such/page");
  await expect(page.getByText("There is no page at this address")).toBeVisible();
});

test("a bad value in a link is ignored, the page opens", async ({ page }) => {
  await page.goto("/?window=2w&protocol=carrier-pigeon&level=galaxy");
  await expect(page.getByRole("table", { name: /worst first/ })).toBeVisible();
});
