import { describe, expect, it } from "vitest";

import { merge } from "../api/live";
import type { Agent, Figures, LatencyPoint, PathEvent, PathHop, PathIdentity, PathNode } from "../api/types";
import { alpha2OfNumeric, countryName } from "./countries";
import { toCsv } from "./csv";
import { endingWords, groupEvents, isOfPath, movement, openedAt, rttCost, shortRouter, timesWords } from "./events";
import { find } from "./find";
import { joinCommands } from "./join";
import { addedRtt, compareIdentities, nodeLabel, stageHops, stageSpans } from "./path";
import { cluster } from "./ribbon";
import { LATENCY_STEPS, latencyColour } from "./scale";
import { inScope, parseScope } from "./scope";
import { parseSearch } from "./search";
import { axisTop, nearest, toColumns } from "./series";
import { windowMs, WINDOWS } from "./time";
import { BASE, clampView, fitView, toScreen } from "./view";

const FIGURES: Figures = { n: 10, agents: 1, left_out: 0, mistimed: 0, loss_ratio: 0.1, min_us: 900, p5_us: 1000, p25_us: 1100, p50_us: 1200, p75_us: 1300, p95_us: 2000, p99_us: 3000 };
const point = (at: number, figures: Partial<Figures> = {}): LatencyPoint => ({ at_unix_ms: at, figures: { ...FIGURES, ...figures } });

describe("toColumns", () => {
  it("puts one gap where steps are missing", () => {
    const columns = toColumns([point(0), point(60_000), point(240_000)], 60);
    expect(columns.at).toEqual([0, 60, 120, 240]);
    expect(columns.p50).toEqual([1.2, 1.2, null, 1.2]);
    expect(columns.points[2]).toBeUndefined();
  });
  it("takes the smallest minimum as the floor, and none where nothing answered", () => {
    expect(toColumns([point(0, { min_us: 700 }), point(60_000)], 60).floor).toBe(0.7);
    expect(toColumns([point(0, { min_us: null })], 60).floor).toBeUndefined();
  });
  it("shows loss in per cent and keeps unknown loss unknown", () => {
    expect(toColumns([point(0), point(60_000, { loss_ratio: null })], 60).loss).toEqual([10, null]);
  });
});

it("the axis ends above the largest value, but one outlier does not flatten the rest", () => {
  expect(axisTop([10, 20])).toBeGreaterThan(20);
  expect(axisTop([...Array.from({ length: 200 }, () => 10), 5000])).toBeLessThan(50);
  expect(axisTop([null])).toBeGreaterThan(0);
});

it("the nearest step", () => {
  expect([nearest([0, 60, 120], 80), nearest([], 1)]).toEqual([1, undefined]);
});

it("every latency has one colour and the steps rise", () => {
  expect(latencyColour(null)).toBeUndefined();
  expect(latencyColour(9_999)).toBe(LATENCY_STEPS[0]?.colour);
  expect(latencyColour(10_000)).toBe(LATENCY_STEPS[1]?.colour);
  expect(latencyColour(900_000_000)).toBe(LATENCY_STEPS.at(-1)?.colour);
  LATENCY_STEPS.slice(1).forEach((step, index) => {
    expect(step.belowMs).toBeGreaterThan(LATENCY_STEPS[index]?.belowMs ?? Infinity);
  });
});

it("a bad link still opens: what is valid stays, the rest goes", () => {
  expect(parseSearch({ window: "7d", protocol: "icmp", target: " exchange ", geography: "nl", live: "off", agent: 7 })).toEqual({ window: "7d", protocol: "icmp", target: "exchange", geography: "NL", live: "off", agent: "7" });
  expect(parseSearch({ window: "2w", protocol: "tcp", target: "", geography: "NL-NH", live: true, agent: {} })).toEqual({});
});

it("windows are what they say", () => {
  expect(WINDOWS.map(windowMs)).toEqual([900e3, 3600e3, 21_600e3, 43_200e3, 86_400e3, 604_800e3, 2_592_000e3]);
});

it("codes and names of countries", () => {
  expect([alpha2OfNumeric("528"), alpha2OfNumeric(4), alpha2OfNumeric("036"), alpha2OfNumeric(undefined), alpha2OfNumeric("-99")]).toEqual(["NL", "AF", "AU", undefined, undefined]);
  expect([countryName("NL"), countryName(null), countryName("not a code")]).toEqual(["Netherlands", "unknown", "not a code"]);
});

it("CSV quotes what needs it and disarms formulas", () => {
  expect(toCsv(["a", "b"], [["x,\"y\"", 1], ["=1+1", null]])).toBe('a,b\r\n"x,""y""",1\r\n\'=1+1,\r\n');
});

const node = (part: Partial<PathNode>): PathNode => ({ address: "192.0.2.1", name: null, asn: null, as_name: null, role: null, pop: null, ingress: false, flows: 8, min_rtt_us: 1000, median_rtt_us: 1000, ...part });
const SILENT = node({ address: null, min_rtt_us: null, median_rtt_us: null });
const hops = (...all: PathNode[][]): PathHop[] => all.map((nodes, index) => ({ ttl: index + 1, nodes }));

describe("paths", () => {
  const path = hops([node({})], [SILENT], [node({ asn: 64496, min_rtt_us: 3000 })], [node({ asn: 8075, ingress: true, min_rtt_us: 2500 })], [SILENT], [node({ asn: 8075, role: "destination", min_rtt_us: 5000 })]);

  it("every hop has its stage, silent ones that of the hop before", () => {
    expect(stageHops(path).map(({ stage }) => stage)).toEqual(["LAN and access", "LAN and access", "Providers", "Microsoft ingress", "Microsoft network", "Edge"]);
    expect(stageSpans(stageHops(path)).map(({ from, to }) => [from, to])).toEqual([[0, 1], [2, 2], [3, 3], [4, 4], [5, 5]]);
  });
  it("a hop that answers faster than one before it adds nothing", () => {
    expect(addedRtt(path)).toEqual([1000, undefined, 2000, 0, undefined, 2000]);
  });
  it("labels say the most telling thing", () => {
    const pop = { code: "AM", metro: "AMS", name: "Amsterdam", country: "NL", latitude: 52, longitude: 5 };
    expect([nodeLabel(SILENT), nodeLabel(node({ role: "destination" })), nodeLabel(node({ pop, role: "icr" })), nodeLabel(node({ asn: 64496 })), nodeLabel(node({ name: "gw.example.net" })), nodeLabel(node({}))]).toEqual(["silent", "target", "AMS icr", "AS64496", "gw", "192.0.2.1"]);
  });
});

const FRA: PathIdentity = { as_path: [64496, 8075], ingress_metros: ["FRA"], ingress_routers: ["icr01.fra21.ntwk.msn.net"], edge_metros: [] };
const AMS: PathIdentity = { ...FRA, ingress_metros: ["AMS"], ingress_routers: ["192.0.2.9"] };
const event = (part: Partial<PathEvent>): PathEvent => ({
  event_id: "1", class: "geo", state: "closed", agent_id: "a", site_name: "Berlin", country: "DE", target: "exchange",
  last_good_unix_ms: 0, first_novel_unix_ms: 0, detected_unix_ms: 0, reopenings: 0, ended_unix_ms: null, ending: null, before: FRA, after: AMS,
  before_rtt_us: 14_000, after_rtt_us: 21_000, text: "moved", moved: "", status: "event", brief: false, late: false, reasons: [], ...part,
});

describe("events", () => {
  it("say what moved by their class", () => {
    expect(movement(event({}))).toEqual({ before: "FRA", after: "AMS" });
    expect(movement(event({ class: "local" }))).toEqual({ before: "icr01.fra21", after: "192.0.2.9" });
    expect(movement(event({ class: "provider", before: { ...FRA, as_path: [] } }))).toEqual({ before: "not seen", after: "AS64496 AS8075" });
    expect(shortRouter("192.0.2.9")).toBe("192.0.2.9");
  });
  it("cost is known only where both sides are", () => {
    expect([rttCost(event({})), rttCost(event({ after_rtt_us: null }))]).toEqual([7_000, undefined]);
  });
  it("open ones come first, the rest by day, newest first", () => {
    const day = 86_400_000;
    const groups = groupEvents([event({ event_id: "old", first_novel_unix_ms: day }), event({ event_id: "open", state: "open", first_novel_unix_ms: 2 * day }), event({ event_id: "new", first_novel_unix_ms: 5 * day })]);
    expect(groups.map((group) => group.events.map((one) => one.event_id))).toEqual([["open"], ["new"], ["old"]]);
    expect(groups[0]?.title).toBe("Open now");
  });
  it("a flapping path counts its times and lasts from the latest", () => {
    const first = new Date(2026, 10, 3, 10, 2).getTime();
    const again = event({ first_novel_unix_ms: first, reopened_unix_ms: first + 600_000, reopenings: 2 });
    expect([openedAt(event({ first_novel_unix_ms: first })), openedAt(again)]).toEqual([first, first + 600_000]);
    expect([timesWords(event({}), first), timesWords(again, first + 900_000), timesWords(again, first + 86_400_000)]).toEqual([undefined, "3rd time since 10:02", "3rd time since 3 Nov 10:02"]);
  });
  it("a live event replaces its older self and keeps the order", () => {
    const list = [event({ event_id: "b", first_novel_unix_ms: 2 }), event({ event_id: "a", first_novel_unix_ms: 1 })];
    expect(merge(list, event({ event_id: "a", first_novel_unix_ms: 1, state: "open" })).map((one) => [one.event_id, one.state])).toEqual([["b", "closed"], ["a", "open"]]);
    expect(merge(list, event({ event_id: "c", first_novel_unix_ms: 3 })).map((one) => one.event_id)).toEqual(["c", "b", "a"]);
  });
  it("a silent site is on no path, and ends by being heard", () => {
    const silent = { target: "", ending: "recovery" };
    expect([isOfPath(event({})), isOfPath(event(silent))]).toEqual([true, false]);
    const endings = [silent, { ...silent, ending: "not_observed" }, { ending: "recovery" }, { ending: "not_observed" }, { ending: null }, { ending: "another" }];
    expect(endings.map((part) => endingWords(event(part)))).toEqual(["then heard again", "then it had no agent any more", "then back on the old path", "then nobody looked for a day", undefined, undefined]);
  });
  it("parts of an identity that differ say so", () => {
    expect(compareIdentities(FRA, AMS).map((part) => [part.label, part.changed])).toEqual([["AS path", false], ["Ingress metro", true], ["Ingress router", true], ["Edge metro", false]]);
  });
});

it("events that began together share a mark, those of another class do not", () => {
  const events = [event({ event_id: "late", first_novel_unix_ms: 90 }), event({ event_id: "a", first_novel_unix_ms: 10 }), event({ event_id: "b", first_novel_unix_ms: 20 }), event({ event_id: "c", class: "local", first_novel_unix_ms: 12 })];
  const groups = cluster(events, (one) => one.first_novel_unix_ms);
  expect(groups.map((group) => group.events.map((one) => one.event_id))).toEqual([["a", "b"], ["c"], ["late"]]);
});

it("scopes", () => {
  const agent = { agent_id: "a", site: { site_id: "s", country: "NL", subdivision: null, metro: "Amsterdam" } } as unknown as Agent;
  const scopes = ["world", "country:NL", "country:DE", "subdivision:unknown", "metro:NL/Amsterdam", "site:s", "agent:a", "agent:b", "planet:mars"];
  expect(scopes.map((scope) => inScope(scope, agent))).toEqual([true, true, false, true, true, true, true, false, false]);
  expect([parseScope("site:"), parseScope("nonsense"), parseScope("metro:NL/Den:Haag")]).toEqual([undefined, undefined, { level: "metro", key: "NL/Den:Haag" }]);
});

it("search ranks the start of a title first and needs every word", () => {
  const all = ["West Berlin", "Berlin"].map((title) => ({ kind: "Site", title, detail: "Germany", to: title, words: "192.0.2.7" }));
  expect(find(all, "ber").map((one) => one.title)).toEqual(["Berlin", "West Berlin"]);
  expect(find(all, "ber germany west")).toHaveLength(1);
  expect(find(all, "192.0.2.7")).toHaveLength(2);
  expect(find(all, "paris")).toHaveLength(0);
});

it("join commands keep the secret off the command line", () => {
  const { installed, byHand } = joinCommands("fm1.a.b.c\n");
  for (const command of [installed, byHand]) {
    const [first, ...rest] = command.split("\n");
    expect(first).not.toContain("fm1.");
    expect(rest).toEqual(["fm1.a.b.c", "END"]);
  }
});

it("the map's view holds all points and stays in bounds", () => {
  expect(fitView([], 1000, 412)).toEqual({ k: 1, x: 0.5, y: 0.5 });
  const points: [number, number][] = [[100, 100], [300, 200]];
  const view = fitView(points, BASE.width, BASE.height);
  for (const one of points) {
    const [x, y] = toScreen(view, 1, BASE.width, BASE.height, one);
    expect(x).toBeGreaterThan(0);
    expect(x).toBeLessThan(BASE.width);
    expect(y).toBeGreaterThan(0);
    expect(y).toBeLessThan(BASE.height);
  }
  expect(clampView({ k: 99, x: -1, y: 2 })).toEqual({ k: 24, x: 0, y: 1 });
});
