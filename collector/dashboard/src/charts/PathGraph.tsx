/**
 * A path as columns, one for each TTL, under the stages they belong to.
 *
 * Which flow went from which router to which is not known where both neighbouring hops have several: such
 * links are drawn thin and dashed, so that the picture does not claim more than was measured.
 */
import { useElementSize } from "@mantine/hooks";

import type { PathReport } from "../api/types";
import { asn, rtt, rttChange } from "../lib/format";
import { addedRtt, hopRtt, nodeLabel, stageHops, stageSpans } from "../lib/path";

const ROW_HEIGHT = 62;
const TOP = 46;
const BOTTOM = 34;
const MIN_COLUMN = 84;

export function PathGraph({ path }: { path: PathReport }) {
  const { ref, width } = useElementSize();
  const hops = stageHops(path.hops);
  const added = addedRtt(path.hops);
  const column = Math.max(MIN_COLUMN, Math.floor((width - 8) / (hops.length + 1)));
  const deepest = Math.max(1, ...path.hops.map((hop) => hop.nodes.length));
  const height = TOP + deepest * ROW_HEIGHT + BOTTOM;
  const x = (index: number) => 4 + column * (index + 0.5);
  const y = (index: number, of: number) => TOP + ((deepest - of) / 2 + index + 0.5) * ROW_HEIGHT - 8;
  const flows = Math.max(1, path.flows);
  const limit = Math.max(5, Math.floor(column / 7.2));

  return (
    <div className="fm-graph" ref={ref} tabIndex={0} role="region" aria-label="Graph of the path, hop by hop; the table below holds the same rows" style={{ minHeight: height }}>
      {width > 0 && (
        <svg width={Math.max(width, column * (hops.length + 1) + 8)} height={height} aria-hidden="true">
          {stageSpans(hops).map(({ stage, from, to }) => (
            <g key={from}>
              <rect x={x(from + 1) - column / 2 + 2} y={4} width={column * (to - from + 1) - 4} height={height - 8} rx={5} fill="var(--fm-sunken)" opacity={0.55} />
              <text x={(x(from + 1) + x(to + 1)) / 2} y={22} textAnchor="middle" fontSize={12} fontWeight={600} fill="var(--fm-muted)">
                {column * (to - from + 1) < stage.length * 7.2 ? SHORT_STAGES[stage] : stage}
              </text>
            </g>
          ))}
          {path.hops.map((hop, index) => {
            const left = index === 0 ? [undefined] : (path.hops[index - 1]?.nodes ?? []);
            const sure = left.length === 1 || hop.nodes.length === 1;
            return left.flatMap((from, fromIndex) =>
              hop.nodes.map((to, toIndex) => {
                const share = sure ? Math.min(from?.flows ?? flows, to.flows) / flows : 0;
                const [x1, y1, x2, y2] = [x(index), y(fromIndex, left.length), x(index + 1), y(toIndex, hop.nodes.length)];
                return (
                  <path
                    key={`${hop.ttl}-${fromIndex}-${toIndex}`}
                    d={`M${x1},${y1}C${x1 + column / 2},${y1} ${x2 - column / 2},${y2} ${x2},${y2}`}
                    fill="none"
                    stroke={sure ? "var(--fm-accent)" : "var(--fm-line-strong)"}
                    strokeOpacity={sure ? 0.55 : 1}
                    strokeWidth={sure ? 1.5 + share * 5 : 1.2}
                    strokeDasharray={sure ? undefined : "3 4"}
                  />
                );
              }),
            );
          })}
          <Node x={x(0)} y={y(0, 1)} label={clip(path.site_name, limit)} below="agent" kind="end" title={path.site_name} />
          {path.hops.map((hop, index) => (
            <g key={hop.ttl}>
              {hop.nodes.map((node, nodeIndex) => {
                const silent = node.address === null || node.address === undefined;
                return (
                  <Node
                    key={node.address ?? `silent-${nodeIndex}`}
                    x={x(index + 1)}
                    y={y(nodeIndex, hop.nodes.length)}
                    label={clip(nodeLabel(node), limit)}
                    below={silent ? "" : rtt(node.min_rtt_us)}
                    kind={silent ? "silent" : node.role === "destination" ? "end" : node.ingress ? "ingress" : "router"}
                    title={silent ? `TTL ${hop.ttl}: no reply (${node.flows} of ${flows} flows)` : `TTL ${hop.ttl}: ${node.name ?? node.address} ${asn(node.asn)} ${node.as_name ?? ""} (${node.flows} of ${flows} flows)`}
                  />
                );
              })}
              <text x={x(index + 1)} y={height - 12} textAnchor="middle" fontSize={11.5} fill="var(--fm-muted)">
                {hopRtt(hop) === undefined ? "" : (added[index] ?? 0) >= 100 ? rttChange(added[index] ?? 0) : "±0"}
              </text>
            </g>
          ))}
          <text x={x(0)} y={height - 12} textAnchor="middle" fontSize={11.5} fill="var(--fm-muted)">
            added
          </text>
        </svg>
      )}
    </div>
  );
}

const SHORT_STAGES: Record<string, string> = {
  "LAN and access": "LAN",
  Providers: "Prov.",
  "Microsoft ingress": "Ingress",
  "Microsoft network": "Microsoft",
  Edge: "Edge",
};

function Node({ x, y, label, below, kind, title }: { x: number; y: number; label: string; below: string; kind: "router" | "ingress" | "silent" | "end"; title: string }) {
  const fill = { router: "var(--fm-accent)", ingress: "var(--fm-accent)", silent: "var(--fm-panel)", end: "var(--fm-text)" }[kind];
  return (
    <g>
      <title>{title}</title>
      {kind === "end" ? (
        <rect x={x - 7} y={y - 7} width={14} height={14} rx={3} fill={fill} />
      ) : (
        <>
        {kind === "ingress" && <circle cx={x} cy={y} r={11} fill="var(--fm-panel)" stroke="var(--fm-accent)" strokeWidth={2} />}
        <circle cx={x} cy={y} r={7} fill={fill} stroke={kind === "silent" ? "var(--fm-muted)" : "var(--fm-panel)"} strokeWidth={kind === "silent" ? 1.6 : 1} />
        </>
      )}
      <text x={x} y={y + 21} textAnchor="middle" fontSize={11.5} fill={kind === "silent" ? "var(--fm-muted)" : "var(--fm-text)"} stroke="var(--fm-panel)" strokeWidth={3} paintOrder="stroke">
        {label}
      </text>
      <text x={x} y={y + 34} textAnchor="middle" fontSize={11} fill="var(--fm-muted)" stroke="var(--fm-panel)" strokeWidth={3} paintOrder="stroke">
        {below}
      </text>
    </g>
  );
}

function clip(text: string, limit: number): string {
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}
