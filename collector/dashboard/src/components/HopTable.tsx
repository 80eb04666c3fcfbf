/** The hops of a path as rows: the same content as the graph, to read, copy and hear. */
import type { PathReport } from "../api/types";
import { asn, duration, rtt } from "../lib/format";
import { hopRtt, stageHops } from "../lib/path";
import { CsvButton, type Column } from "./DataTable";

interface HopRow {
  ttl: number;
  first: boolean;
  stage: string;
  address: string | undefined;
  name: string | undefined;
  asn: number | undefined;
  asName: string | undefined;
  role: string | undefined;
  metro: string | undefined;
  metroName: string | undefined;
  ingress: boolean;
  flows: number;
  minUs: number | undefined;
  medianUs: number | undefined;
  lastSeen: number | undefined;
}

export function HopTable({ path }: { path: PathReport }) {
  const rows = toRows(path);
  const longest = Math.max(1, ...path.hops.map((hop) => hopRtt(hop) ?? 0));
  return (
    <>
      <div className="fm-panel-head">
        <h2>Hop by hop</h2>
        <span style={{ flex: 1 }} />
        <CsvButton columns={CSV} rows={rows} name={`path-${path.site_name}-${path.target}`} />
      </div>
      <div className="fm-table-scroll">
        <table className="fm-table" aria-label="Hops of the path">
          <thead>
            <tr>
              <th scope="col" data-align="right">TTL</th>
              <th scope="col">Name and address</th>
              <th scope="col">AS</th>
              <th scope="col">Role</th>
              <th scope="col">Metro</th>
              <th scope="col" data-align="right">Flows</th>
              <th scope="col">Smallest RTT</th>
              <th scope="col" data-align="right">Median</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={`${row.ttl}-${index}`} data-hop={row.ttl} data-silent={row.address ? undefined : true}>
                <td data-align="right">{row.first ? row.ttl : ""}</td>
                <td style={{ overflowWrap: "anywhere", minWidth: "min(270px, 50vw)" }}>
                  {row.address ? (
                    <>
                      {row.name && <div data-name>{row.name}</div>}
                      <code className={row.name ? "fm-muted" : undefined}>{row.address}</code>
                      {row.lastSeen !== undefined && (
                        <div className="fm-muted">no reply in this round, met {duration(path.at_unix_ms - row.lastSeen)} before</div>
                      )}
                    </>
                  ) : (
                    <span className="fm-muted">○ no reply</span>
                  )}
                </td>
                <td>
                  <span className="fm-nowrap">{row.address ? asn(row.asn) : ""}</span> <span className="fm-muted">{row.asName ?? ""}</span>
                </td>
                <td className="fm-nowrap">
                  {row.role === "destination" ? "target" : (row.role ?? "")}
                  {row.ingress && <span className="fm-badge" style={{ marginLeft: row.role ? 6 : 0 }}>ingress</span>}
                </td>
                <td className="fm-nowrap">{row.metro ? `${row.metro}${row.metroName ? ` ${row.metroName}` : ""}` : ""}</td>
                <td data-align="right">
                  {row.flows} of {path.flows}
                </td>
                <td className="fm-nowrap">
                  {row.minUs !== undefined && (
                    <>
                      <span className="fm-bar-cell" aria-hidden="true">
                        <i style={{ width: `${Math.max(1.5, (row.minUs / longest) * 100)}%` }} />
                      </span>
                      {rtt(row.minUs)}
                    </>
                  )}
                </td>
                <td data-align="right">{row.medianUs === undefined ? "" : rtt(row.medianUs)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function toRows(path: PathReport): HopRow[] {
  return stageHops(path.hops).flatMap(({ hop, stage }) =>
    hop.nodes.map((node, index) => ({
      ttl: hop.ttl,
      first: index === 0,
      stage,
      address: node.address ?? undefined,
      name: node.name ?? undefined,
      asn: node.asn ?? undefined,
      asName: node.as_name ?? undefined,
      role: node.role ?? undefined,
      metro: node.pop?.metro,
      metroName: node.pop?.name,
      ingress: node.ingress,
      flows: node.flows,
      minUs: node.min_rtt_us ?? undefined,
      medianUs: node.median_rtt_us ?? undefined,
      lastSeen: node.last_seen_unix_ms ?? undefined,
    })),
  );
}

const CSV: readonly Column<HopRow>[] = [
  { key: "ttl", title: "ttl", value: (row) => row.ttl },
  { key: "stage", title: "stage", value: (row) => row.stage },
  { key: "address", title: "address", value: (row) => row.address },
  { key: "name", title: "name", value: (row) => row.name },
  { key: "asn", title: "asn", value: (row) => row.asn },
  { key: "as_name", title: "as_name", value: (row) => row.asName },
  { key: "role", title: "role", value: (row) => row.role },
  { key: "metro", title: "metro", value: (row) => row.metro },
  { key: "flows", title: "flows", value: (row) => row.flows },
  { key: "min_rtt_us", title: "min_rtt_us", value: (row) => row.minUs },
  { key: "median_rtt_us", title: "median_rtt_us", value: (row) => row.medianUs },
  { key: "last_seen_unix_ms", title: "last_seen_unix_ms", value: (row) => row.lastSeen },
];
