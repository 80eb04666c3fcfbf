// Tests of the dashboard in a real browser against a real collector with agents behind it. One that cannot run fails.
import { accessSync, constants } from "node:fs";

import { defineConfig } from "@playwright/test";

const collector = process.env["FIRSTMILE_URL"];
if (!collector) {
  throw new Error("FIRSTMILE_URL is not set: it is the dashboard address of a running collector, such as http://127.0.0.1:8080 (`cargo xtask run --lab` prints one)");
}
const chromium = process.env["FIRSTMILE_CHROMIUM"] ?? "/usr/bin/chromium";
try {
  accessSync(chromium, constants.X_OK);
} catch {
  throw new Error(`no browser at ${chromium}: install Debian's package chromium, or set FIRSTMILE_CHROMIUM`);
}

export default defineConfig({
  testDir: ".",
  globalSetup: "./ready.ts",
  testMatch: "*.spec.ts",
  outputDir: "output",
  // One collector, one browser: the tests see each other's events otherwise.
  workers: 1,
  retries: 0,
  forbidOnly: true,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: "list",
  use: {
    screenshot: "only-on-failure",
    viewport: { width: 1280, height: 800 },
    launchOptions: {
      executablePath: chromium,
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    },
  },
});
