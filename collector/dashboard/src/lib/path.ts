/** A traced path, hop by hop, into stages and columns that can be drawn. */
import type { PathHop, PathIdentity, PathNode } from "../api/types";

export const STAGES = ["LAN and access", "Providers", "Microsoft ingress", "Microsoft network", "Edge"] as const;
export type Stage = (typeof STAGES)[number];

/** One TTL with its stage. Silent hops take the stage of the hop before them. */
export interface StagedHop {
  hop: PathHop;
  stage: Stage;
}

/** Gives every hop its stage: up to the first AS, up to Microsoft, its first router, behind it, the target. */
export function stageHops(hops: readonly PathHop[]): StagedHop[] {
  let stage: Stage = "LAN and access";
  return hops.map((hop) => {
    stage = next(stage, hop.nodes);
    return { hop, stage };
  });
}

/** Consecutive hops of one stage, as spans of columns. */
export function stageSpans(hops: readonly StagedHop[]): { stage: Stage; from: number; to: number }[] {
  const spans: { stage: Stage; from: number; to: number }[] = [];
  hops.forEach(({ stage }, index) => {
    const last = spans.at(-1);
    if (last?.stage === stage) last.to = index;
    else spans.push({ stage, from: index, to: index });
  });
  return spans;
}

/** RTT that each TTL adds over the largest one before it; silence and faster answers add nothing. */
export function addedRtt(hops: readonly PathHop[]): (number | undefined)[] {
  let reached = 0;
  return hops.map((hop) => {
    const rtt = hopRtt(hop);
    if (rtt === undefined) return undefined;
    const added = Math.max(0, rtt - reached);
    reached = Math.max(reached, rtt);
    return added;
  });
}

/** The smallest RTT of a hop: queueing at a router's control plane only ever adds to it. */
export function hopRtt(hop: PathHop): number | undefined {
  const known = hop.nodes.map((node) => node.min_rtt_us).filter((rtt) => rtt !== null && rtt !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
}

/** What to call a router in little space. */
export function nodeLabel(node: PathNode): string {
  if (node.address === null || node.address === undefined) return "silent";
  if (node.role === "destination") return "target";
  if (node.pop) return node.role ? `${node.pop.metro} ${node.role}` : node.pop.metro;
  if (node.asn !== null && node.asn !== undefined) return `AS${node.asn}`;
  return node.name?.split(".")[0] ?? node.address;
}

/** One part of an identity before and after. */
export interface IdentityChange {
  label: string;
  before: string;
  after: string;
  changed: boolean;
}

/** An identity beside the one it replaced, part by part. */
export function compareIdentities(before: PathIdentity, after: PathIdentity): IdentityChange[] {
  const parts: [string, (identity: PathIdentity) => string][] = [
    ["AS path", (identity) => identity.as_path.map((as) => `AS${as}`).join(" → ")],
    ["Ingress metro", (identity) => identity.ingress_metros.join(", ")],
    ["Ingress router", (identity) => identity.ingress_routers.join(", ")],
    ["Edge metro", (identity) => identity.edge_metros.join(", ")],
  ];
  return parts.map(([label, read]) => {
    const [was, is] = [read(before) || "not seen", read(after) || "not seen"];
    return { label, before: was, after: is, changed: was !== is };
  });
}

function next(stage: Stage, nodes: readonly PathNode[]): Stage {
  if (nodes.some((node) => node.role === "destination")) return "Edge";
  if (nodes.some((node) => node.ingress)) return "Microsoft ingress";
  if (stage === "Microsoft ingress" || stage === "Microsoft network") {
    return "Microsoft network";
  }
  if (stage === "LAN and access" && nodes.some((node) => node.asn !== null && node.asn !== undefined)) return "Providers";
  return stage;
}
