import { Link } from "@tanstack/react-router";

import type { Agent, AgentTarget } from "../api/types";
import { countryName } from "../lib/countries";
import { ago, plural } from "../lib/format";
import { utc } from "../lib/time";
import { CsvButton, DataTable, type Column } from "./DataTable";
import { useNow } from "./useNow";

export function AgentsTable({ agents }: { agents: readonly Agent[] }) {
  const now = useNow();
  return <DataTable columns={columns(now)} rows={agents} rowKey={(agent) => agent.agent_id} label="Agents" initialSort={{ key: "site", order: "ascending" }} />;
}

export function AgentsCsv({ agents }: { agents: readonly Agent[] }) {
  return <CsvButton columns={columns(0)} rows={agents} name="agents" />;
}

/** An agent's state in words; silence is said, not coloured green or red. */
export function AgentState({ state }: { state: string }) {
  const tone = { silent: "bad", waiting: "quiet", revoked: "quiet" }[state];
  return (
    <span className="fm-badge" data-tone={tone}>
      {state}
    </span>
  );
}

/** The version that runs; where the roll-out plan expects another one, which of the two is the newer. */
export function AgentVersion({ agent }: { agent: Agent }) {
  const differs = agent.version_state && agent.version_state !== "current" && agent.state !== "revoked";
  return (
    <span className="fm-nowrap">
      {agent.version}
      {differs && (
        <>
          {" "}
          <span className="fm-badge" data-tone="quiet" title={`The roll-out plan expects ${agent.expected_version ?? ""}`}>
            {agent.version_state}
          </span>
        </>
      )}
    </span>
  );
}

/** How many agents run an older version than the roll-out plan expects of them; nothing where none does. */
export function lagging(agents: readonly Agent[]): string | null {
  const inService = agents.filter((agent) => agent.state !== "revoked");
  const behind = inService.filter((agent) => agent.version_state === "behind");
  if (behind.length === 0) return null;
  const wanted = [...new Set(behind.map((agent) => agent.expected_version))].join(", ");
  return `${behind.length} of ${plural(inService.length, "agent")} ${behind.length === 1 ? "is" : "are"} behind the roll-out plan, which expects ${wanted}.`;
}

/** A target's state in words. */
export function targetState(target: AgentTarget): string {
  const words: Record<string, string> = {
    ok: "ok",
    dns_failed: "DNS failed",
    unreachable: "unreachable",
    no_route: "no route",
    not_permitted: "not permitted",
    silent: "silent",
    waiting: "waiting",
    revoked: "agent revoked",
  };
  return words[target.state] ?? target.state;
}

function columns(now: number): Column<Agent>[] {
  return [
    {
      key: "site",
      title: "Site",
      value: (agent) => agent.site.name,
      cell: (agent) => (
        <Link to="/latency/$" params={{ _splat: `site:${agent.site.site_id}` }}>
          {agent.site.name}
        </Link>
      ),
    },
    { key: "country", title: "Country", value: (agent) => countryName(agent.site.country) },
    {
      key: "host",
      title: "Host",
      value: (agent) => agent.hostname,
      cell: (agent) => (
        <Link to="/agents/$id" params={{ id: agent.agent_id }} className="fm-nowrap">
          {agent.hostname}
        </Link>
      ),
    },
    { key: "version", title: "Version", value: (agent) => agent.version, cell: (agent) => <AgentVersion agent={agent} /> },
    { key: "expected", title: "Expected", value: (agent) => agent.expected_version ?? null },
    {
      key: "seen",
      title: "Last seen",
      value: (agent) => (agent.last_seen_unix_ms ? utc(agent.last_seen_unix_ms) : null),
      cell: (agent) => (agent.last_seen_unix_ms ? <time dateTime={new Date(agent.last_seen_unix_ms).toISOString()} title={utc(agent.last_seen_unix_ms)} className="fm-nowrap">{ago(agent.last_seen_unix_ms, now)}</time> : "never"),
    },
    { key: "state", title: "State", value: (agent) => agent.state, cell: (agent) => <AgentState state={agent.state} /> },
    {
      key: "targets",
      title: "Targets",
      value: (agent) => agent.targets.map((target) => `${target.name}: ${targetState(target)}`).join("; "),
      cell: (agent) => <TargetsSummary agent={agent} />,
    },
  ];
}

function TargetsSummary({ agent }: { agent: Agent }) {
  const bad = agent.targets.filter((target) => target.state !== "ok");
  if (agent.state === "revoked") return <span className="fm-muted">its reports are refused</span>;
  if (agent.targets.length === 0) return <span className="fm-muted">none yet</span>;
  if (bad.length === 0) return <>{plural(agent.targets.length, "target")} ok</>;
  return (
    <span>
      {agent.targets.length - bad.length} of {agent.targets.length} ok;{" "}
      {bad.slice(0, 2).map((target) => `${target.name} ${targetState(target)}`).join(", ")}
      {bad.length > 2 && `, ${bad.length - 2} more`}
    </span>
  );
}
