/** The path of an agent to a target as it is now, hop by hop, and what it was before. */
import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { CallFailure } from "../api/client";
import { agentsQuery, pathQuery } from "../api/queries";
import type { Agent, PathReport, PathSpan } from "../api/types";
import { PathGraph } from "../charts/PathGraph";
import { HopTable } from "../components/HopTable";
import { IdentityComparison } from "../components/Identity";
import { Empty, Loaded, Waiting, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { usePageSearch } from "../components/usePageSearch";
import { duration, plural, rtt } from "../lib/format";
import { hopRtt } from "../lib/path";

export function Paths() {
  const agents = useQuery(agentsQuery);
  return (
    <div className="fm-page">
      {(agents.data === undefined || agents.data.length === 0) && <h1 style={{ minHeight: 48 }}>Paths</h1>}
      <Loaded
        query={agents}
        what="the agents"
        waiting={
          <div className="fm-panel">
            <WaitingRows rows={10} label="paths" />
          </div>
        }
      >
        {(all) =>
          all.length === 0 ? (
            <div className="fm-panel">
              <Empty title="No agent, no path">
                <p>
                  <Link to="/agents">Add an agent</Link>; its first trace appears here within a minute.
                </p>
              </Empty>
            </div>
          ) : (
            <Chosen agents={all} />
          )
        }
      </Loaded>
    </div>
  );
}

function Chosen({ agents }: { agents: readonly Agent[] }) {
  const { search, change } = usePageSearch();
  const sorted = [...agents].sort((a, b) => a.site.name.localeCompare(b.site.name));
  const agent = sorted.find((one) => one.agent_id === search.agent) ?? sorted.find((one) => one.targets.some((target) => target.state === "ok")) ?? sorted[0];
  const target = agent?.targets.find((one) => one.name === search.target) ?? (search.target ? undefined : (agent?.targets.find((one) => one.state === "ok") ?? agent?.targets[0]));
  return (
    <>
      <div className="fm-row" style={{ alignItems: "end" }}>
        <Select
          label="From"
          w={260}
          searchable
          allowDeselect={false}
          value={agent?.agent_id ?? null}
          data={sorted.map((one) => ({ value: one.agent_id, label: `${one.site.name} (${one.hostname})` }))}
          onChange={(value) => { change({ agent: value ?? undefined }); }}
        />
        <Select
          label="To"
          w={220}
          allowDeselect={false}
          value={target?.name ?? null}
          placeholder="Choose a target"
          data={(agent?.targets ?? []).map((one) => one.name)}
          onChange={(value) => { change({ agent: agent?.agent_id, target: value ?? undefined }); }}
        />
      </div>
      {agent && target ? (
        <Path agentId={agent.agent_id} target={target.name} />
      ) : (
        <div className="fm-panel">
          <Empty title={search.target ? `${agent?.site.name ?? "This agent"} does not measure ${search.target}` : "This agent has no target yet"}>
            <p>Choose another target or agent above.</p>
          </Empty>
        </div>
      )}
    </>
  );
}

function Path({ agentId, target }: { agentId: string; target: string }) {
  const path = useQuery(pathQuery(agentId, target));
  if (path.error instanceof CallFailure && path.error.code === "no_path_yet") {
    return (
      <div className="fm-panel">
        <Empty title="No path yet">
          <p>{path.error.message}</p>
        </Empty>
      </div>
    );
  }
  return (
    <Loaded
      query={path}
      what="the path"
      waiting={
        <div className="fm-panel">
          <Waiting height={170} label="the graph" />
          <WaitingRows rows={10} label="hops" />
        </div>
      }
    >
      {(report) => <Whole path={report} />}
    </Loaded>
  );
}

function Whole({ path }: { path: PathReport }) {
  return (
    <>
      <div className="fm-headline">
        <h1>{sentence(path)}</h1>
        <p className="fm-muted">
          {path.kind.toUpperCase()} to {path.destination}, newest round at <Time ms={path.at_unix_ms} exact />, {path.flows_reached} of {plural(path.flows, "flow")} reached it. Comparison: {stateWords(path.state)}.
        </p>
      </div>
      <section className="fm-panel" aria-label="Graph">
        <PathGraph path={path} />
        <div className="fm-legend">
          <span>Columns are TTLs. A ringed dot is the ingress router, a hollow one gave no reply: silence of a hop is no loss while later hops answer.</span>
          <span>Dashed: both hops have several routers, and which flow took which is not reported.</span>
        </div>
      </section>
      <section className="fm-panel" aria-label="Hops">
        <HopTable path={path} />
      </section>
      <History path={path} />
    </>
  );
}

function History({ path }: { path: PathReport }) {
  const previous = path.history[0];
  return (
    <>
      {previous && (
        <section className="fm-panel" aria-label="Before and now">
          <div className="fm-panel-head">
            <h2>Before and now</h2>
          </div>
          <IdentityComparison before={previous.identity} after={path.identity} beforeTitle="Before" afterTitle="Now" />
        </section>
      )}
      <section className="fm-panel" aria-label="History">
        <div className="fm-panel-head">
          <h2>Paths before this one</h2>
        </div>
        {path.history.length === 0 ? (
          <Empty title="The path has not changed since it is watched" />
        ) : (
          <div className="fm-table-scroll">
            <table className="fm-table" aria-label="Earlier paths, newest first">
              <thead>
                <tr>
                  <th scope="col">From</th>
                  <th scope="col">To</th>
                  <th scope="col">Lasted</th>
                  <th scope="col" data-align="right">Rounds</th>
                  <th scope="col">AS path</th>
                  <th scope="col">Ingress</th>
                  <th scope="col">Edge</th>
                </tr>
              </thead>
              <tbody>
                {path.history.map((span) => (
                  <SpanRow key={`${span.from_unix_ms}-${span.to_unix_ms}`} span={span} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
    </>
  );
}

function SpanRow({ span }: { span: PathSpan }) {
  const { identity } = span;
  return (
    <tr>
      <td><Time ms={span.from_unix_ms} exact /></td>
      <td><Time ms={span.to_unix_ms} exact /></td>
      <td className="fm-nowrap">{duration(span.to_unix_ms - span.from_unix_ms)}</td>
      <td data-align="right">{span.rounds}</td>
      <td className="fm-nowrap">{identity.as_path.map((as) => `AS${as}`).join(" → ") || "–"}</td>
      <td>
        {identity.ingress_metros.join(", ") || "–"}
        <div className="fm-small fm-muted">{identity.ingress_routers.join(", ")}</div>
      </td>
      <td>{identity.edge_metros.join(", ") || "–"}</td>
    </tr>
  );
}

function sentence(path: PathReport): string {
  const { identity } = path;
  const last = path.hops.at(-1);
  const end = last && hopRtt(last);
  const through = identity.as_path.length > 0 ? ` through ${identity.as_path.map((as) => `AS${as}`).join(", ")}` : "";
  const enters = identity.ingress_metros.length > 0 ? `, enters Microsoft’s network in ${identity.ingress_metros.join(", ")}` : "";
  const reached = path.flows_reached > 0 ? ` in ${plural(path.hops.length, "hop")}${end === undefined ? "" : `, ${rtt(end)}`}` : `, not reached in ${plural(path.hops.length, "hop")}`;
  return `${path.site_name} to ${path.target}${through}${enters}${reached}`;
}

function stateWords(state: string): string {
  return (
    {
      learning: "learning what is usual",
      stable: "stable",
      suspect: "suspect, a change waits for agreement",
      shifted: "shifted from the usual path",
      blind: "blind, too little of the path answers",
    }[state] ?? state
  );
}
