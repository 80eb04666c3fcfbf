/** What routing says in an incident: verdicts with what speaks for and against them, and what agents say to them. */
import type { Incident, RoutingVerdict } from "../api/types";
import { asn, plural } from "../lib/format";
import { Time } from "./Time";

export function RoutingOfIncident({ incident }: { incident: Incident }) {
  if (incident.verdicts.length === 0) return null;
  const check = incident.cross_check;
  return (
    <section className="fm-panel" aria-label="What routing says">
      <div className="fm-panel-head">
        <h2>What routing says</h2>
        <span className="fm-muted fm-small">
          {plural(incident.verdicts_total, "verdict")}
          {incident.verdicts_total > incident.verdicts.length ? `, the first ${String(incident.verdicts.length)}` : ""}
        </span>
      </div>
      <VerdictTable verdicts={incident.verdicts} label="Verdicts of the incident" />
      {check && (
        <div className="fm-panel-body">
          <p style={{ margin: 0 }}>
            <span className="fm-badge" data-tone={check.grade === "confirmed" || check.grade === "supported" ? "shift" : undefined}>
              {check.grade.replace("_", " ")}
            </span>{" "}
            {check.grade === "not_testable"
              ? "No agent measures from a site of the prefix: nothing bears the verdict out, and nothing speaks against it."
              : `${plural(check.agents, "agent")} at the prefix's sites, ${String(check.agents_hit)} of them hit: ${check.signs.join("; ") || "no sign either way"}.`}
          </p>
        </div>
      )}
    </section>
  );
}

export function VerdictTable({ verdicts, label }: { verdicts: readonly RoutingVerdict[]; label: string }) {
  return (
    <div className="fm-table-scroll">
      <table className="fm-table" aria-label={label}>
        <thead>
          <tr>
            <th scope="col">Class</th>
            <th scope="col">Prefix</th>
            <th scope="col">By</th>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">For it</th>
            <th scope="col">Against it</th>
          </tr>
        </thead>
        <tbody>
          {verdicts.map((verdict) => (
            <tr key={verdict.verdict_no} data-verdict={verdict.verdict_no}>
              <td>
                {verdict.class} <span className="fm-muted">({verdict.severity})</span>
              </td>
              <td>
                <code>{verdict.prefix}</code>
                {verdict.matched && verdict.matched !== verdict.prefix ? <span className="fm-muted"> of {verdict.matched}</span> : null}
              </td>
              <td>{verdict.offender === null || verdict.offender === undefined ? "–" : asn(verdict.offender)}</td>
              <td>
                <Time ms={verdict.started_unix_ms} exact />
              </td>
              <td>{verdict.ended_unix_ms === null || verdict.ended_unix_ms === undefined ? "open" : <Time ms={verdict.ended_unix_ms} exact />}</td>
              <td>
                {verdict.reason}
                {verdict.evidence.map((one) => (
                  <div key={one.as_path} className="fm-muted fm-small">
                    {plural(one.peers, "peer")}: {one.as_path}
                  </div>
                ))}
                {verdict.remedy?.words.map((one) => (
                  <div key={one}>To do: {one}</div>
                ))}
                {(verdict.remedy?.bird ?? "") !== "" && (
                  <details>
                    <summary>Configuration to announce it (a proposal, never sent)</summary>
                    <pre className="fm-small">{verdict.remedy?.bird}</pre>
                    <pre className="fm-small">{verdict.remedy?.frr}</pre>
                  </details>
                )}
              </td>
              <td>
                {verdict.counter_evidence.length === 0
                  ? "–"
                  : verdict.counter_evidence.map((one) => <div key={one}>{one}</div>)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
