/** The top bar: whose data, which window, which filters, how fresh. */
import { SegmentedControl, Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import type { Liveness } from "../api/live";
import { agentsQuery } from "../api/queries";
import type { Status } from "../api/types";
import { countryName } from "../lib/countries";
import { DEFAULT_PROTOCOL, DEFAULT_WINDOW, PROTOCOLS, oneOf } from "../lib/search";
import { WINDOWS, windowWords, type WindowName } from "../lib/time";
import { usePageSearch } from "./usePageSearch";
import { protocolName } from "./figures";
import { Icon } from "./icons";
import { SearchBox } from "./SearchBox";

const WINDOW_LABELS: Record<WindowName, string> = { "15m": "15 m", "1h": "1 h", "6h": "6 h", "12h": "12 h", "1d": "1 d", "7d": "7 d", "30d": "30 d" };

export function Bar({ status, liveness }: { status: Status | undefined; liveness: Liveness }) {
  const { search, window, protocol, change } = usePageSearch();
  return (
    <header className="fm-bar">
      <span className="fm-org" title={status ? `Signed in as ${status.principal.name} (${status.principal.role})` : undefined}>
        {status?.principal.organisation ?? "firstmile"}
      </span>
      <SegmentedControl
        className="fm-windows"
        aria-label="Time window"
        value={window}
        transitionDuration={0}
        data={WINDOWS.map((value) => ({ value, label: <abbr title={windowWords(value)}>{WINDOW_LABELS[value]}</abbr> }))}
        onChange={(value) => {
          change({ window: value === DEFAULT_WINDOW ? undefined : oneOf(WINDOWS, value) });
        }}
      />
      <LiveSwitch
        liveness={liveness}
        toggle={() => {
          change({ live: search.live === "off" ? undefined : "off" });
        }}
      />
      <Select
        aria-label="Protocol"
        w={96}
        value={protocol}
        allowDeselect={false}
        data={PROTOCOLS.map((value) => ({ value, label: protocolName(value) }))}
        onChange={(value) => {
          change({ protocol: value === DEFAULT_PROTOCOL ? undefined : oneOf(PROTOCOLS, value) });
        }}
      />
      <TargetSelect />
      {search.protocol && (
        <Chip label={`Protocol ${protocolName(search.protocol)}`} clear={() => { change({ protocol: undefined }); }} />
      )}
      {search.target && <Chip label={`Target ${search.target}`} clear={() => { change({ target: undefined }); }} />}
      {search.geography && <Chip label={countryName(search.geography)} clear={() => { change({ geography: undefined }); }} />}
      <span className="fm-grow" />
      <SearchBox />
    </header>
  );
}

function TargetSelect() {
  const { search, change } = usePageSearch();
  const agents = useQuery(agentsQuery);
  const names = new Set((agents.data ?? []).flatMap((agent) => agent.targets.map((target) => target.name)));
  if (search.target) names.add(search.target);
  return (
    <Select
      aria-label="Target"
      placeholder="All targets"
      w={150}
      value={search.target ?? null}
      data={[...names].sort()}
      clearable
      onChange={(value) => {
        change({ target: value ?? undefined });
      }}
    />
  );
}

function LiveSwitch({ liveness, toggle }: { liveness: Liveness; toggle: () => void }) {
  const words: Record<Liveness, [string, string]> = {
    off: ["Live off", "The page keeps what it shows. Press to follow new data."],
    connecting: ["Live", "Connecting to the collector"],
    streaming: ["Live", "New data appear by themselves. Press to hold the page still."],
    polling: ["Polling", "The live stream is down; the page asks every 10 s instead."],
  };
  const [label, title] = words[liveness];
  return (
    <button type="button" className="fm-live" data-state={liveness} aria-pressed={liveness !== "off"} title={title} onClick={toggle}>
      <span className="fm-live-dot" aria-hidden="true" />
      {label}
    </button>
  );
}

function Chip({ label, clear }: { label: string; clear: () => void }) {
  return (
    <span className="fm-chip">
      {label}
      <button type="button" aria-label={`Remove the filter ${label}`} onClick={clear}>
        <Icon name="close" size={12} />
      </button>
    </span>
  );
}
