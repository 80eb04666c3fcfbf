/** The JSON of the collector's API, one to one with `collector/src/api/types.rs`. Times `*_unix_ms` are UTC, RTTs `*_us`, shares `*_ratio` 0 to 1. */

/** A span of time that an answer covers. */
export interface Window {
  /** Start, inclusive. */
  readonly from_unix_ms: number;
  /** End, exclusive. */
  readonly to_unix_ms: number;
}

/** The state of the collector, for the frame of the dashboard and for scripts. */
export interface Status {
  /** Version of the collector's program. */
  readonly version: string;
  /** Who is asking. */
  readonly principal: Principal;
  /** The collector's clock. */
  readonly now_unix_ms: number;
  /** Agents that are enrolled. */
  readonly agents_total: number;
  /** Agents heard in the last three minutes. */
  readonly agents_reporting: number;
  /** Sites that have at least one agent. */
  readonly sites_total: number;
  /** Reports accepted since the collector started. */
  readonly reports_accepted: number;
  /** Reports refused since the collector started, by reason. */
  readonly reports_refused: readonly RefusedCount[];
  /** Things that somebody should know, worst first; for example that no agent reaches any edge. */
  readonly notices: readonly Notice[];
}

/** Who is asking. */
export interface Principal {
  /** Organisation whose data the principal sees. */
  readonly organisation: string;
  /** Name for people: `loopback` or the login. */
  readonly name: string;
  /** What the principal may do: `admin`. */
  readonly role: string;
}

/** How often reports were refused for one reason. */
export interface RefusedCount {
  /** The refusal's code, such as `truncated`. */
  readonly code: string;
  /** Times since the collector started. */
  readonly count: number;
}

/** Something that somebody should know. */
export interface Notice {
  /** `info`, `warning` or `error`. */
  readonly level: string;
  /** A constant word for programs, such as `no_edge_reached`. */
  readonly code: string;
  /** One sentence for people: what is so, and what to do. */
  readonly text: string;
}

/** A level of geography. */
export type GeographyLevel = "country" | "subdivision" | "metro" | "site";

/** Latency per geography. */
export interface GeographyReport {
  /** What the figures cover. */
  readonly window: Window;
  /** Level of the rows. */
  readonly level: GeographyLevel;
  /** Protocol of the samples, such as `tcp`. */
  readonly protocol: string;
  /** Phase of the samples, such as `rtt`. */
  readonly phase: string;
  /** One row for each geography that has agents, worst p50 first; those without samples last. */
  readonly rows: readonly GeographyRow[];
}

/** One geography. */
export interface GeographyRow {
  /** Key to ask with: `NL`, `NL-NH`, `NL/Amsterdam`, a site's id; `unknown` where nothing is declared or found. */
  readonly key: string;
  /** Name for people. */
  readonly name: string;
  /** ISO 3166-1 alpha-2 country, absent when unknown. */
  readonly country?: string | null;
  /** Centre or declared place, degrees. */
  readonly latitude?: number | null;
  /** Centre or declared place, degrees. */
  readonly longitude?: number | null;
  /** The figures of the window. */
  readonly figures: Figures;
  /** The same figures of the span of equal length before the window, for "against its usual". */
  readonly before: Figures;
  /** Agents of this geography. */
  readonly agents: number;
  /** Of them, those not heard for three minutes. */
  readonly agents_silent: number;
  /** Events open now. */
  readonly open_events: number;
  /** Metro codes of the POPs where this geography's paths enter Microsoft's network, most used first. */
  readonly ingress_metros: readonly string[];
}

/** RTT and loss of a set of samples. Quantiles are absent without an answered probe. */
export interface Figures {
  /** Probes that count: answered plus lost. */
  readonly n: number;
  /** Agents behind them. */
  readonly agents: number;
  /** Lost probes over `n`; absent when `n` is 0. */
  readonly loss_ratio?: number | null;
  /** Smallest RTT. */
  readonly min_us?: number | null;
  /** 5th percentile. */
  readonly p5_us?: number | null;
  /** 25th percentile. */
  readonly p25_us?: number | null;
  /** Median. */
  readonly p50_us?: number | null;
  /** 75th percentile. */
  readonly p75_us?: number | null;
  /** 95th percentile. */
  readonly p95_us?: number | null;
  /** 99th percentile. */
  readonly p99_us?: number | null;
}

/** Latency over time of a geography, a site or an agent. */
export interface LatencyReport {
  /** What the figures cover. */
  readonly window: Window;
  /** Width of a point. */
  readonly step_s: number;
  /** The scope that was asked for, such as `country:NL`, `site:…`, `agent:…`, `world`. */
  readonly scope: string;
  /** Name of the scope for people. */
  readonly name: string;
  /** Target that was asked for, absent for all. */
  readonly target?: string | null;
  /** Protocol of the samples. */
  readonly protocol: string;
  /** Phase of the samples. */
  readonly phase: string;
  /** How a geography's quantiles are weighted: `agent` or `sample`. */
  readonly weighting: string;
  /** The figures of the whole window. */
  readonly total: Figures;
  /** One point for each step that has samples, oldest first. */
  readonly points: readonly LatencyPoint[];
  /** Protocols with samples in this scope and window, and whether they are answered at all. */
  readonly protocols: readonly ProtocolState[];
}

/** One step of a latency report. */
export interface LatencyPoint {
  /** Start of the step. */
  readonly at_unix_ms: number;
  /** The figures of the step. */
  readonly figures: Figures;
}

/** Whether a protocol is answered in a scope. */
export interface ProtocolState {
  /** `icmp`, `tcp`, `https` or `dns`. */
  readonly protocol: string;
  /** False: never answered here, so it counts neither as loss nor as a fault. */
  readonly answered_here: boolean;
  /** Probes sent in the window. */
  readonly n: number;
}

/** Where something is. */
export interface Site {
  /** Identity of the site. */
  readonly site_id: string;
  /** Name for people. */
  readonly name: string;
  /** ISO 3166-1 alpha-2 country. */
  readonly country?: string | null;
  /** ISO 3166-2 subdivision, such as `NL-NH`. */
  readonly subdivision?: string | null;
  /** City or metropolitan area. */
  readonly metro?: string | null;
  /** Degrees, north positive. */
  readonly latitude?: number | null;
  /** Degrees, east positive. */
  readonly longitude?: number | null;
  /** Where the geography comes from: `declared`, `country_table` or `unknown`. */
  readonly geography_source: string;
}

/** What may be changed of a site (PATCH). An absent field stays, an explicit null clears. */
export interface SitePatch {
  /** Name for people. */
  readonly name?: string | null;
  /** ISO 3166-1 alpha-2 country. */
  readonly country?: string | null;
  /** ISO 3166-2 subdivision. */
  readonly subdivision?: string | null;
  /** City or metropolitan area. */
  readonly metro?: string | null;
  /** Degrees, north positive. */
  readonly latitude?: number | null;
  /** Degrees, east positive. */
  readonly longitude?: number | null;
}

/** An agent. */
export interface Agent {
  /** Identity of the agent. */
  readonly agent_id: string;
  /** Host name of its machine. */
  readonly hostname: string;
  /** Its site. */
  readonly site: Site;
  /** Version of its program. */
  readonly version: string;
  /** Operating system of its machine. */
  readonly os?: string | null;
  /** What ICMP it may do: `raw`, `datagram` or `none`. */
  readonly icmp_capability?: string | null;
  /** When it enrolled. */
  readonly enrolled_unix_ms: number;
  /** When the collector last stored a report of it; absent before the first. */
  readonly last_seen_unix_ms?: number | null;
  /** `reporting`, `silent` (nothing for three minutes), `waiting` (nothing yet). */
  readonly state: string;
  /** Reports it had to drop because its spool was full. */
  readonly spool_dropped_reports: number;
  /** The state of each of its targets, by name. */
  readonly targets: readonly AgentTarget[];
}

/** What an agent sees of a target now. */
export interface AgentTarget {
  /** Name in the agent's configuration. */
  readonly name: string;
  /** Host name or literal address. */
  readonly host: string;
  /** Port of TCP and HTTPS. */
  readonly port: number;
  /** Service it stands for. */
  readonly service: string;
  /** The address that is probed now. */
  readonly address?: string | null;
  /** What answered: `ok`, `dns_failed`, `unreachable`, `no_route`, `not_permitted`, `silent`, `waiting`. */
  readonly state: string;
  /** Metro of the POP that serves the target, from headers. */
  readonly edge_pop?: Pop | null;
  /** Metro where the path enters Microsoft's network, from router names. */
  readonly ingress_pop?: Pop | null;
  /** State of its path comparison: `learning`, `stable`, `suspect`, `shifted`, `blind`. */
  readonly path_state: string;
  /** The figures of the last 15 minutes, TCP RTT. */
  readonly figures: Figures;
  /** Which protocols are answered at all. */
  readonly protocols: readonly ProtocolState[];
}

/** A POP of the catalogue, by metro. */
export interface Pop {
  /** Code as seen, such as `AM`. */
  readonly code: string;
  /** Metro, such as `AMS`. */
  readonly metro: string;
  /** Name for people. */
  readonly name: string;
  /** ISO 3166-1 alpha-2 country. */
  readonly country: string;
  /** City centre, degrees. */
  readonly latitude: number;
  /** City centre, degrees. */
  readonly longitude: number;
}

/** The current path of an agent to a target. */
export interface PathReport {
  /** Identity of the agent. */
  readonly agent_id: string;
  /** The agent's site. */
  readonly site_name: string;
  /** Target's name. */
  readonly target: string;
  /** Where the flows went. */
  readonly destination: string;
  /** When the newest round started. */
  readonly at_unix_ms: number;
  /** `tcp`, `udp` or `icmp`. */
  readonly kind: string;
  /** Flows in the newest round. */
  readonly flows: number;
  /** Flows that reached the destination. */
  readonly flows_reached: number;
  /** What the path comparison rests on. */
  readonly identity: PathIdentity;
  /** State of the path comparison: `learning`, `stable`, `suspect`, `shifted`, `blind`. */
  readonly state: string;
  /** Hops in order of TTL. */
  readonly hops: readonly PathHop[];
  /** The identities before this one, newest first, at most 20. */
  readonly history: readonly PathSpan[];
}

/** What is compared from round to round; two rounds with equal identities took the same path. */
export interface PathIdentity {
  /** AS numbers up to and with Microsoft's, each once, silent and private hops bridged. */
  readonly as_path: readonly number[];
  /** Metros of the ingress routers, sorted. */
  readonly ingress_metros: readonly string[];
  /** Ingress routers by name, or by address where they have none, sorted. */
  readonly ingress_routers: readonly string[];
  /** Metros of the POP as headers name it, sorted. */
  readonly edge_metros: readonly string[];
}

/** All routers that flows met at one TTL. */
export interface PathHop {
  /** TTL, from 1. */
  readonly ttl: number;
  /** Routers seen, most flows first. A silent hop has one node without an address. */
  readonly nodes: readonly PathNode[];
}

/** One router at one TTL. */
export interface PathNode {
  /** Its address, absent for a silent hop. */
  readonly address?: string | null;
  /** Its name in DNS. */
  readonly name?: string | null;
  /** Origin AS of its address. */
  readonly asn?: number | null;
  /** Name of that AS. */
  readonly as_name?: string | null;
  /** Role by its name: `ibr`, `icr`, `ier`, `ear`, `owr`, `rwa`; `destination` for the target itself. */
  readonly role?: string | null;
  /** POP metro by its name. */
  readonly pop?: Pop | null;
  /** True for the first router of Microsoft's network. */
  readonly ingress: boolean;
  /** Flows that met it. */
  readonly flows: number;
  /** Smallest RTT among them. */
  readonly min_rtt_us?: number | null;
  /** Median RTT among them. */
  readonly median_rtt_us?: number | null;
}

/** A span of time on one path. */
export interface PathSpan {
  /** First round. */
  readonly from_unix_ms: number;
  /** Last round. */
  readonly to_unix_ms: number;
  /** Rounds. */
  readonly rounds: number;
  /** The path. */
  readonly identity: PathIdentity;
}

/** A class of path shift. */
export type EventClass = "as_path_shift" | "geo_failover" | "local_failover";

/** A path shift: found, perhaps still going on. */
export interface Event {
  /** Identity of the event. */
  readonly event_id: string;
  /** What moved. */
  readonly class: EventClass;
  /** `open` or `closed`. */
  readonly state: string;
  /** Identity of the agent. */
  readonly agent_id: string;
  /** Site of the agent. */
  readonly site_name: string;
  /** ISO 3166-1 alpha-2 country of the site. */
  readonly country?: string | null;
  /** Target's name. */
  readonly target: string;
  /** Last round on the old path: the shift happened after it. */
  readonly last_good_unix_ms: number;
  /** First round on the new path: the shift happened before it. */
  readonly first_novel_unix_ms: number;
  /** When the collector was sure. */
  readonly detected_unix_ms: number;
  /** When the old path was back for six rounds or the new one was adopted; absent while open. */
  readonly ended_unix_ms?: number | null;
  /** How it ended: `recovered` or `adopted`. */
  readonly ending?: string | null;
  /** The path before. */
  readonly before: PathIdentity;
  /** The path after. */
  readonly after: PathIdentity;
  /** Median TCP RTT in the rounds before, where known. */
  readonly before_rtt_us?: number | null;
  /** Median TCP RTT in the rounds after, where known. */
  readonly after_rtt_us?: number | null;
  /** One sentence for people. */
  readonly text: string;
  /** The reasons, one a line. */
  readonly evidence: readonly string[];
}

/** What a POST to `/api/v1/join-strings` asks for. */
export interface JoinStringRequest {
  /** Name of the site; made if it does not exist. */
  readonly site: string;
  /** ISO 3166-1 alpha-2 country of a new site. */
  readonly country?: string | null;
  /** ISO 3166-2 subdivision of a new site. */
  readonly subdivision?: string | null;
  /** City or metropolitan area of a new site. */
  readonly metro?: string | null;
  /** Degrees, north positive. */
  readonly latitude?: number | null;
  /** Degrees, east positive. */
  readonly longitude?: number | null;
  /** Life of the join string in seconds; one day when absent. */
  readonly expires_s?: number | null;
}

/** A fresh join string. */
export interface JoinStringResponse {
  /** The string, to be given to `firstmile-agent enroll`. */
  readonly join_string: string;
  /** Its site. */
  readonly site: Site;
  /** When it ends. */
  readonly expires_unix_ms: number;
}

/** The body of every error. */
export interface ApiError {
  /** A constant word for programs, such as `bad_parameter`. */
  readonly code: string;
  /** What was tried, on what, why it failed and what to do. */
  readonly message: string;
}

/** A message of `/api/v1/live`; the name of the server-sent event is `kind`. */
export type Live =
  | { readonly kind: "event"; readonly event: Event }
  | { readonly kind: "reports"; readonly to_unix_ms: number };

/** The API's `Event`, by a name that does not shadow the browser's. */
export type PathEvent = Event;
