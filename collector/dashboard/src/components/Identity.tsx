/** The identity of a path before and after, part by part; what changed is violet and says so. */
import type { PathIdentity } from "../api/types";
import { compareIdentities } from "../lib/path";

export function IdentityComparison({ before, after, beforeTitle, afterTitle }: { before: PathIdentity; after: PathIdentity; beforeTitle: string; afterTitle: string }) {
  return (
    <div className="fm-table-scroll">
      <table className="fm-table" aria-label="The path before and after">
        <thead>
          <tr>
            <th scope="col">Part</th>
            <th scope="col">{beforeTitle}</th>
            <th scope="col">{afterTitle}</th>
            <th scope="col">Change</th>
          </tr>
        </thead>
        <tbody>
          {compareIdentities(before, after).map((part) => (
            <tr key={part.label}>
              <td className="fm-nowrap">{part.label}</td>
              <td style={{ overflowWrap: "anywhere" }}>{part.before}</td>
              <td style={{ overflowWrap: "anywhere" }} className={part.changed ? "fm-moved" : undefined}>
                {part.after}
              </td>
              <td>{part.changed ? <span className="fm-badge" data-tone="shift">changed</span> : <span className="fm-muted">same</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
