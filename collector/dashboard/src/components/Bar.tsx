/** The top bar: whose data, which window, which filters, how fresh. */
import { Button, SegmentedControl, Select } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";

import { send } from "../api/client";
import type { Liveness } from "../api/live";
import { agentsQuery, sitesQuery } from "../api/queries";
import type { Status } from "../api/types";
import { countryName } from "../lib/countries";
import { DEFAULT_PROTOCOL, DEFAULT_WINDOW, PROTOCOLS, oneOf } from "../lib/search";
import { WINDOWS, windowWords, type WindowName } from "../lib/time";
import { usePageSearch } from "./usePageSearch";
import { protocolName } from "./figures";
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
        className={search.protocol ? "fm-filter fm-filter-set" : "fm-filter"}
        radius="xl"
        aria-label="Protocol"
        w={104}
        value={protocol}
        allowDeselect={false}
        clearable={search.protocol !== undefined}
        data={PROTOCOLS.map((value) => ({ value, label: protocolName(value) }))}
        onChange={(value) => {
          change({ protocol: value === DEFAULT_PROTOCOL ? undefined : oneOf(PROTOCOLS, value) });
        }}
      />
      <TargetFilter />
      <GeographyFilter />
      <span className="fm-grow" />
      <SearchBox />
      {status && status.principal.name !== "loopback" && <LogOut name={status.principal.name} />}
    </header>
  );
}

function TargetFilter() {
  const { search, change } = usePageSearch();
  const agents = useQuery(agentsQuery);
  const names = new Set((agents.data ?? []).flatMap((agent) => agent.targets.map((target) => target.name)));
  if (search.target) names.add(search.target);
  return (
    <Select
      className={search.target ? "fm-filter fm-filter-set" : "fm-filter"}
      radius="xl"
      aria-label="Target"
      placeholder="All targets"
      w={142}
      value={search.target ?? null}
      data={[...names].sort()}
      clearable
      onChange={(value) => {
        change({ target: value ?? undefined });
      }}
    />
  );
}

function GeographyFilter() {
  const { search, change } = usePageSearch();
  const sites = useQuery(sitesQuery);
  const codes = new Set((sites.data ?? []).flatMap((site) => site.country ?? []));
  if (search.geography) codes.add(search.geography);
  return (
    <Select
      className={search.geography ? "fm-filter fm-filter-set" : "fm-filter"}
      radius="xl"
      aria-label="Country"
      placeholder="All countries"
      w={150}
      searchable
      value={search.geography ?? null}
      data={[...codes].map((value) => ({ value, label: countryName(value) })).sort((a, b) => a.label.localeCompare(b.label))}
      clearable
      onChange={(value) => {
        change({ geography: value ?? undefined });
      }}
    />
  );
}

/** Only where somebody logged in: on loopback there is nothing to leave. */
function LogOut({ name }: { name: string }) {
  const logout = useMutation({
    mutationFn: () => send("POST", "/logout", {}),
    // Nothing of the session stays in the page's memory.
    onSuccess: () => {
      location.reload();
    },
  });
  return (
    <Button variant="default" size="xs" loading={logout.isPending} title={logout.error?.message ?? `Logged in as ${name}`} onClick={() => { logout.mutate(); }}>
      {logout.isError ? "Log out failed, try again" : "Log out"}
    </Button>
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
