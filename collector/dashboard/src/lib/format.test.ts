import { describe, expect, it } from "vitest";

import { ago, change, count, duration, ordinal, plural, ratio, rtt, rttChange, significant } from "./format";

/** Narrow no-break spaces become plain ones, to be read in a table. */
const plain = (text: string) => text.replaceAll("\u202f", " ");

describe("rtt", () => {
  it.each([
    ["nothing answered", null, "–"],
    ["not sent", undefined, "–"],
    ["below what can be told", 0, "<0.1 ms"],
    ["just below a tenth", 99, "<0.1 ms"],
    ["a tenth", 100, "0.10 ms"],
    ["three figures below 10", 8_424, "8.42 ms"],
    ["three figures below 100", 84_240, "84.2 ms"],
    ["whole above 100", 123_400, "123 ms"],
    ["one unit in one view", 1_234_000, "1,234 ms"],
  ])("%s", (_name, us, want) => {
    expect(plain(rtt(us))).toBe(want);
  });

  it("never shows more than three figures below 1000 ms", () => {
    for (let us = 100; us < 999_000; us += 1_237) {
      expect(plain(rtt(us)).replace(/\D/g, "").replace(/^0+/, "").length).toBeLessThanOrEqual(3);
    }
  });
});

describe("ratio", () => {
  it.each([
    ["unknown", null, "–"],
    ["none", 0, "0 %"],
    ["a trace is not none", 0.0004, "<0.1 %"],
    ["some", 0.034, "3.40 %"],
    ["all", 1, "100 %"],
  ])("%s", (_name, value, want) => {
    expect(plain(ratio(value))).toBe(want);
  });
});

describe("change", () => {
  it.each([
    ["nothing to compare with", 10_000, null, undefined],
    ["within noise", 10_200, 10_000, "as usual"],
    ["small in ms, large in per cent", 300, 100, "as usual"],
    ["more", 13_000, 10_000, "+30 %"],
    ["less", 7_000, 10_000, "−30 %"],
    ["many times", 31_000, 10_000, "3.10×"],
  ])("%s", (_name, now, before, want) => {
    const result = change(now, before);
    expect(result && plain(result.text)).toBe(want);
  });
});

it("durations have two units at most", () => {
  expect([0, 999, 61_000, 3_600_000, 3_661_000, 90_000_000].map((ms) => plain(duration(ms)))).toEqual(["0 s", "1 s", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h"]);
});

it("ages are coarse", () => {
  const ages = [-2_000, 4_999, 5_000, 59_000, 60_000, 7_200_000, 172_800_000];
  expect(ages.map((age) => plain(ago(1_000_000_000 - age, 1_000_000_000)))).toEqual(["just now", "just now", "5 s ago", "50 s ago", "1 min ago", "2 h ago", "2 d ago"]);
});

it("counts, nouns and signs", () => {
  expect([1, 2, 3, 4, 11, 12, 13, 21, 102].map(ordinal)).toEqual(["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd"]);
  expect([plural(1, "agent"), plural(2, "agent"), count(1234567)]).toEqual(["1 agent", "2 agents", "1,234,567"]);
  expect([rttChange(7_700), rttChange(-7_700), rttChange(50)].map(plain)).toEqual(["+7.70 ms", "−7.70 ms", "±<0.1 ms"]);
  expect([significant(0.123), significant(0), significant(99.96)]).toEqual(["0.12", "0", "100"]);
});
