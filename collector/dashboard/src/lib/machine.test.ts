import { describe, expect, it } from "vitest";

import { bytes, permille, ratioWords } from "./machine";

describe("words for a machine", () => {
  it("scales bytes by thousands", () => {
    expect([0, 999, 1000, 9_950_000, 2_900_000_000].map(bytes)).toEqual(["0 B", "999 B", "1.0 kB", "9.9 MB", "2.9 GB"]);
  });
  it("tells shares", () => {
    expect(permille(3)).toBe("0.3 %");
    expect(ratioWords(1, 12)).toBe("1 of 12");
  });
});
