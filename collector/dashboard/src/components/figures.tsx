/** Numbers as the tables show them. */
import type { Figures, ProtocolState } from "../api/types";
import { change, count, ratio, rtt } from "../lib/format";
import { latencyColour } from "../lib/scale";

/** An RTT with the colour of the fixed scale beside it. */
export function Rtt({ us }: { us: number | null | undefined }) {
  const colour = latencyColour(us);
  return (
    <span className="fm-nowrap">
      <span className="fm-swatch" style={{ background: colour }} data-empty={colour ? undefined : true} aria-hidden="true" />
      {rtt(us)}
    </span>
  );
}

/** Loss, red from one in a thousand. */
export function Loss({ figures }: { figures: Figures }) {
  const lossy = (figures.loss_ratio ?? 0) >= 0.001;
  return (
    <span className={lossy ? "fm-loss" : undefined} title={`of ${count(figures.n)} probes${figures.left_out > 0 ? `; ${count(figures.left_out)} left out, marked by their agents` : ""}${figures.mistimed > 0 ? `; ${count(figures.mistimed)} answered in a time not trusted` : ""}`}>
      {ratio(figures.loss_ratio)}
    </span>
  );
}

/** The median against that of the span before. */
export function Usual({ now, before }: { now: Figures; before: Figures }) {
  const result = change(now.p50_us, before.p50_us);
  if (!result) return <span className="fm-muted">–</span>;
  const title = `p50 ${rtt(now.p50_us)}, before ${rtt(before.p50_us)} (n ${count(before.n)})`;
  const mark = { up: "▲ ", down: "▽ ", same: "" }[result.direction];
  return (
    <span title={title} className={result.direction === "same" ? "fm-muted" : undefined}>
      {mark}
      {result.text}
    </span>
  );
}

/** Protocols and whether they are answered at all. An unanswered one is grey: no fault, no loss. */
export function Protocols({ states }: { states: readonly ProtocolState[] }) {
  return (
    <span className="fm-row" style={{ gap: 4 }}>
      {states.map((state) => (
        <span
          key={state.protocol}
          className="fm-badge"
          data-tone={state.answered_here ? undefined : "quiet"}
          title={state.answered_here ? `${count(state.n)} probes` : `Not answered here: ${count(state.n)} probes sent, none ever answered. Not counted as loss.`}
        >
          {protocolName(state.protocol)}
          {!state.answered_here && " not answered"}
        </span>
      ))}
    </span>
  );
}

/** A protocol's usual spelling. */
export function protocolName(protocol: string): string {
  return protocol.toUpperCase();
}

/** What a figure of a protocol and phase measures, in words. */
export function phaseName(protocol: string, phase: string): string {
  const words: Record<string, string> = { rtt: "RTT", connect: "connect time", tls: "TLS handshake", ttfb: "time to first byte", ttfb_warm: "time to first byte, warm", handshake: "handshake time", dns: "answer time" };
  return `${protocolName(protocol)} ${words[phase] ?? phase}`;
}
