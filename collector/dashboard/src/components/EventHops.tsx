/** The whole paths before and after an event, hop beside hop. */
import type { EventPath, EventPaths, PathHop } from "../api/types";
import { asn } from "../lib/format";
import { Time } from "./Time";

export function EventHops({ paths }: { paths: EventPaths }) {
  const { before, after } = paths;
  if (!before && !after) return null;
  const ttls = Math.max(0, ...[before, after].flatMap((path) => path?.hops.map((hop) => hop.ttl) ?? []));
  return (
    <div className="fm-table-scroll">
      <table className="fm-table" aria-label="Hops before and after">
        <thead>
          <tr>
            <th scope="col" data-align="right">TTL</th>
            <th scope="col"><Heading title="Before" path={before} /></th>
            <th scope="col"><Heading title="After" path={after} /></th>
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: ttls }, (_, index) => index + 1).map((ttl) => {
            const [one, other] = [hopAt(before, ttl), hopAt(after, ttl)];
            const moved = one !== undefined && other !== undefined && words(one) !== words(other);
            return (
              <tr key={ttl}>
                <td data-align="right">{ttl}</td>
                <td style={{ overflowWrap: "anywhere" }}>{one ? words(one) : ""}</td>
                <td style={{ overflowWrap: "anywhere" }} className={moved ? "fm-moved" : undefined}>{other ? words(other) : ""}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Heading({ title, path }: { title: string; path: EventPath | null | undefined }) {
  return path ? (
    <>
      {title}: <Time ms={path.at_unix_ms} exact /> to {path.destination}
    </>
  ) : (
    <>{title}: no whole round</>
  );
}

function hopAt(path: EventPath | null | undefined, ttl: number): PathHop | undefined {
  return path?.hops.find((hop) => hop.ttl === ttl);
}

function words(hop: PathHop): string {
  const one = (node: PathHop["nodes"][number]) => {
    if (node.address === null || node.address === undefined) return "no reply";
    const network = node.asn === null || node.asn === undefined ? "" : `, ${asn(node.asn)}`;
    return `${node.name ?? node.address}${network}`;
  };
  return hop.nodes.map(one).join(" | ");
}
