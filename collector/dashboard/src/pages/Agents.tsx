/** Who measures, from where, and whether they still do. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { agentsQuery } from "../api/queries";
import type { Agent } from "../api/types";
import { AddAgent } from "../components/AddAgent";
import { AgentsCsv, AgentsTable, lagging } from "../components/AgentsTable";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { usePageSearch } from "../components/usePageSearch";
import { plural } from "../lib/format";

export function Agents() {
  const { search } = usePageSearch();
  const agents = useQuery(agentsQuery);
  const [adding, setAdding] = useState(false);
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <h1>{agents.data ? sentence(agents.data) : "Agents"}</h1>
        <p className="fm-muted">An agent is silent when nothing was heard of it for three minutes. A revoked one is refused and no longer counts. {agents.data && lagging(agents.data)}</p>
      </div>
      {adding && <AddAgent close={() => { setAdding(false); }} />}
      <section className="fm-panel" aria-label="Agents">
        <div className="fm-panel-head">
          <h2>Agents</h2>
          <span style={{ flex: 1 }} />
          {!adding && <Button onClick={() => { setAdding(true); }}>Add an agent</Button>}
          {agents.data && <AgentsCsv agents={agents.data} />}
        </div>
        <Loaded query={agents} what="the agents" waiting={<WaitingRows rows={8} label="agents" />}>
          {(all) => {
            const shown = all.filter((agent) => !search.geography || agent.site.country === search.geography);
            return shown.length > 0 ? (
              <AgentsTable agents={shown} />
            ) : (
              <Empty title={all.length > 0 ? "No agent passes the filters" : "No agent yet"}>
                <p>{all.length > 0 ? "Remove a filter chip in the bar above." : "Press “Add an agent”: it makes a join string and shows the command to run on the machine that shall measure."}</p>
              </Empty>
            );
          }}
        </Loaded>
      </section>
    </div>
  );
}

function sentence(all: readonly Agent[]): string {
  const agents = all.filter((agent) => agent.state !== "revoked");
  if (agents.length === 0) return all.length > 0 ? "No agent in service" : "No agent yet";
  const reporting = agents.filter((agent) => agent.state === "reporting").length;
  const sites = new Set(agents.map((agent) => agent.site.site_id)).size;
  return `${reporting} of ${plural(agents.length, "agent")} at ${plural(sites, "site")} ${reporting === 1 && agents.length === 1 ? "reports" : "report"}`;
}
