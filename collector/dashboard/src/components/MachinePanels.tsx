/** The agent's own machine and the handshakes it saw: whether a bad figure can be laid at the site's own door. */
import { useQuery } from "@tanstack/react-query";

import { machineQuery } from "../api/queries";
import type { EngineCounters, Handshake, HostState, Machine, MachineChange } from "../api/types";
import { count, rtt } from "../lib/format";
import { bytes, permille, ratioWords } from "../lib/machine";
import { DataTable, type Column } from "./DataTable";
import { Fact } from "./Fact";
import { Time } from "./Time";

export function MachinePanels({ agentId }: { agentId: string }) {
  const machine = useQuery(machineQuery(agentId));
  if (!machine.data) return null;
  const { host, counters, handshakes, changes } = machine.data satisfies Machine;
  return (
    <>
      {host && <HostPanel host={host} />}
      {handshakes.length > 0 && (
        <section className="fm-panel" aria-label="Handshakes">
          <div className="fm-panel-head">
            <h2>TLS and QUIC handshakes</h2>
            <span className="fm-muted fm-small">who answers, by what certificate: another issuer than usual is what inspection looks like</span>
          </div>
          <DataTable columns={HANDSHAKES} rows={handshakes} rowKey={(one) => `${one.target} ${one.protocol} ${one.destination ?? ""}`} label="Newest handshakes" />
        </section>
      )}
      {changes.length > 0 && (
        <section className="fm-panel" aria-label="Changes at the machine">
          <div className="fm-panel-head">
            <h2>Changes at the machine</h2>
          </div>
          <DataTable columns={CHANGES} rows={changes} rowKey={(one) => `${one.at_unix_ms} ${one.kind} ${one.detail}`} label="Changes at the machine" maxHeight={320} />
        </section>
      )}
      {counters && <CountersPanel counters={counters} />}
    </>
  );
}

function HostPanel({ host }: { host: HostState }) {
  return (
    <section className="fm-panel" aria-label="Machine">
      <div className="fm-panel-head">
        <h2>Machine and first hop</h2>
        <span className="fm-muted fm-small">
          <Time ms={host.at_unix_ms} />
        </span>
      </div>
      <div className="fm-panel-body">
        <dl className="fm-facts">
          <Fact title="Processors busy">{permille(host.cpu_permille)}</Fact>
          <Fact title="Memory available">{bytes(host.memory_available_bytes)}</Fact>
          <Fact title="The agent itself">
            {permille(host.own_cpu_permille)} of one processor, {bytes(host.own_rss_bytes)}
          </Fact>
          <Fact title="Ran late by at most" hint="User-clock times taken while it is over 1 ms are marked untrusted and left out">
            {rtt(host.scheduling_delay_max_us)}
          </Fact>
          <Fact title="Interface">{interfaceWords(host)}</Fact>
          <Fact title="Gateway" hint="The LAN leg: echo requests to the default gateway">
            {gatewayWords(host)}
          </Fact>
          <Fact title="Network">
            {host.network ? <code>{host.network}</code> : "not known"}
            {host.roaming && <span className="fm-badge" data-tone="bad">roaming: left out of the site</span>}
          </Fact>
          {host.tunnel_interface && (
            <Fact title="Tunnel">
              {host.tunnel_interface}: {host.tunnelled_targets.join(", ") || "no target"}
            </Fact>
          )}
          {host.proxy && (
            <Fact title="Users’ proxy">
              <code>{host.proxy}</code>: the agent’s probes go directly, its users’ traffic does not
            </Fact>
          )}
          {host.nat64_prefix && (
            <Fact title="NAT64">
              <code>{host.nat64_prefix}</code>
            </Fact>
          )}
          {host.captive_portal && (
            <Fact title="Captive portal">
              <span className="fm-badge" data-tone="bad">a portal answers for other pages</span>
            </Fact>
          )}
        </dl>
      </div>
    </section>
  );
}

function interfaceWords(host: HostState): string {
  const speed = host.interface_speed_mbps ? `${count(host.interface_speed_mbps)} Mbit/s` : undefined;
  const errors = host.interface_errors > 0 ? `${count(host.interface_errors)} errors or drops` : undefined;
  return [host.interface ?? "not known", host.interface_kind, speed, errors].filter(Boolean).join(", ");
}

function gatewayWords(host: HostState): string {
  if (!host.gateway) return "not known";
  if (host.gateway_sent === 0) return `${host.gateway}, not asked`;
  if (host.gateway_lost === host.gateway_sent) return `${host.gateway}, does not answer echo requests`;
  const median = host.gateway_rtt_median_us ? `${rtt(host.gateway_rtt_median_us)} median` : undefined;
  return [host.gateway, median, `${ratioWords(host.gateway_lost, host.gateway_sent)} lost`].filter(Boolean).join(", ");
}

const HANDSHAKES: Column<Handshake>[] = [
  { key: "target", title: "Target", value: (one) => one.target },
  { key: "protocol", title: "Protocol", value: (one) => one.protocol },
  { key: "destination", title: "Address", value: (one) => one.destination, cell: (one) => <code>{one.destination ?? "–"}</code> },
  { key: "version", title: "Version", value: (one) => [one.version, one.alpn].filter(Boolean).join(", ") },
  { key: "issuer", title: "Issuer", value: (one) => one.issuer },
  { key: "ends", title: "Ends", value: (one) => one.not_after_unix_s, cell: (one) => (one.not_after_unix_s > 0 ? <Time ms={one.not_after_unix_s * 1000} /> : "–") },
  {
    key: "key",
    title: "Key",
    hint: "First bytes of the SHA-256 of the server’s public key",
    value: (one) => one.key_sha256,
    cell: (one) => <code title={one.key_sha256 ?? undefined}>{one.key_sha256?.slice(0, 12) ?? "–"}</code>,
  },
  {
    key: "problem",
    title: "Verdict",
    value: (one) => one.problem ?? "verifies",
    cell: (one) => (one.problem ? <span className="fm-badge" data-tone="bad">{one.problem}</span> : "verifies"),
  },
  { key: "at", title: "Seen", value: (one) => one.at_unix_ms, cell: (one) => <Time ms={one.at_unix_ms} /> },
];

const CHANGES: Column<MachineChange>[] = [
  { key: "at", title: "When", value: (one) => one.at_unix_ms, cell: (one) => <Time ms={one.at_unix_ms} exact /> },
  { key: "kind", title: "Kind", value: (one) => one.kind.replace("_", " ") },
  { key: "detail", title: "What", value: (one) => one.detail },
];

function CountersPanel({ counters }: { counters: EngineCounters }) {
  return (
    <section className="fm-panel" aria-label="Engine">
      <div className="fm-panel-head">
        <h2>What the engine gave up or threw away</h2>
        <span className="fm-muted fm-small">since the agent’s program started</span>
      </div>
      <div className="fm-panel-body">
        <dl className="fm-facts">
          <Fact title="Probes not sent">{count(counters.skipped_probes)}</Fact>
          <Fact title="Path rounds put off">{count(counters.deferred_rounds)}</Fact>
          <Fact title="Samples taken late">{count(counters.untrusted_samples)}</Fact>
          <Fact title="Samples over a clock step or sleep">{count(counters.clock_step_samples)}</Fact>
          <Fact title="Replies late, duplicate">
            {count(counters.late_replies)}, {count(counters.duplicate_replies)}
          </Fact>
          <Fact title="Replies truncated, forged, stray">
            {count(counters.truncated_replies)}, {count(counters.forged_replies)}, {count(counters.unmatched_replies)}
          </Fact>
          <Fact title="Spool">
            {bytes(counters.spool_bytes)}, {count(counters.spool_dropped_reports)} reports dropped
          </Fact>
          <Fact title="Uploads failed, refused">
            {count(counters.upload_failures)}, {count(counters.rejected_reports)}
          </Fact>
        </dl>
      </div>
    </section>
  );
}
