/** Where does it hurt? Map, worst-first table, events. */
import { SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, getRouteApi, useNavigate } from "@tanstack/react-router";
import coarseUrl from "world-atlas/countries-110m.json?url";
import fineUrl from "world-atlas/countries-50m.json?url";
import { useState } from "react";

import { eventsQuery, geographiesQuery, popsQuery } from "../api/queries";
import type { GeographyLevel, GeographyReport, GeographyRow } from "../api/types";
import { EventRibbon } from "../charts/EventRibbon";
import { MapLegend, WorldMap, type WorldShapes } from "../charts/WorldMap";
import { CsvButton, DataTable, type Column } from "../components/DataTable";
import { Loss, Rtt, Usual, phaseName, protocolName } from "../components/figures";
import { Empty, Failed, Loaded, Waiting, WaitingRows } from "../components/states";
import { usePageSearch } from "../components/usePageSearch";
import { change, count, plural, ratio, rtt } from "../lib/format";
import { windowMs, windowWords } from "../lib/time";

const page = getRouteApi("/");

export function World() {
  const { level = "country" } = page.useSearch();
  const { search, window, protocol } = usePageSearch();
  const ask = { window, protocol, target: search.target, country: search.geography };
  const rows = useQuery(geographiesQuery({ ...ask, level }));
  const [hovered, setHovered] = useState<string | undefined>();

  return (
    <div className="fm-page">
      <Headline report={rows.data} />
      <div className="fm-world">
        <MapPanel ask={ask} hovered={hovered} />
        <section className="fm-panel" aria-label="Geographies">
          <div className="fm-panel-head">
            <h2>Worst first</h2>
            <LevelSwitch level={level} />
            <span style={{ flex: 1 }} />
            {rows.data && <CsvButton columns={columns(level)} rows={rows.data.rows} name={`geographies-${level}-${window}`} />}
          </div>
          <Loaded query={rows} what="the geographies" waiting={<WaitingRows rows={10} label="geographies" />}>
            {(report) =>
              report.rows.length === 0 ? (
                <NoAgents filtered={Boolean(search.geography ?? search.target)} />
              ) : (
                <div
                  onPointerOver={(over) => { setHovered((over.target as Element).closest("tr")?.querySelector<HTMLElement>("[data-key]")?.dataset.key); }}
                  onPointerLeave={() => { setHovered(undefined); }}
                >
                  <DataTable columns={columns(report.level)} rows={report.rows} rowKey={(row) => row.key} label={`RTT per ${report.level}, worst first`} maxHeight={560} />
                </div>
              )
            }
          </Loaded>
        </section>
      </div>
      <Ribbon />
    </div>
  );
}

function Headline({ report }: { report: GeographyReport | undefined }) {
  const { window } = usePageSearch();
  const worst = report?.rows.find((row) => row.figures.p50_us !== null && row.figures.p50_us !== undefined);
  if (!report) return <div className="fm-headline" style={{ minHeight: 46 }}><h1>World</h1></div>;
  const probes = report.rows.reduce((sum, row) => sum + row.figures.n, 0);
  const agents = report.rows.reduce((sum, row) => sum + row.agents, 0);
  const open = report.rows.reduce((sum, row) => sum + row.open_events, 0);
  const usual = worst && change(worst.figures.p50_us, worst.before.p50_us);
  return (
    <div className="fm-headline" style={{ minHeight: 46 }}>
      <h1>
        {worst
          ? `${worst.name} is farthest: p50 ${rtt(worst.figures.p50_us)}, p95 ${rtt(worst.figures.p95_us)}, loss ${ratio(worst.figures.loss_ratio)}`
          : report.rows.length > 0
            ? `No ${protocolName(report.protocol)} answer in the ${windowWords(window)}`
            : "No agent yet"}
      </h1>
      <p className="fm-muted">
        {phaseName(report.protocol, report.phase)}, {windowWords(window)}, n {count(probes)} from {plural(agents, "agent")}
        {usual && usual.direction !== "same" && `; ${worst.name} ${usual.text} against the span before`}
        {open > 0 ? `; ${plural(open, "open event")}.` : "; no open event."}
      </p>
    </div>
  );
}

function LevelSwitch({ level }: { level: GeographyLevel }) {
  const navigate = useNavigate({ from: "/" });
  return (
    <SegmentedControl
      aria-label="Level of the table"
      transitionDuration={0}
      value={level}
      data={[
        { value: "country", label: "Country" },
        { value: "subdivision", label: "Subdivision" },
        { value: "metro", label: "Metro" },
        { value: "site", label: "Site" },
      ]}
      onChange={(value) => {
        void navigate({ search: (now) => ({ ...now, level: value === "country" ? undefined : value }), replace: true, resetScroll: false });
      }}
    />
  );
}

function columns(level: GeographyLevel): Column<GeographyRow>[] {
  return [
    {
      key: "name",
      title: { country: "Country", subdivision: "Subdivision", metro: "Metro", site: "Site" }[level],
      value: (row) => row.name,
      cell: (row) => (
        <span data-key={row.key}>
          <Link to="/latency/$" params={{ _splat: `${level}:${row.key}` }}>
            {row.name}
          </Link>
        </span>
      ),
    },
    { key: "p50", title: "p50", align: "right", value: (row) => row.figures.p50_us, cell: (row) => <Rtt us={row.figures.p50_us} />, hint: "Median RTT of answered probes" },
    { key: "p95", title: "p95", align: "right", value: (row) => row.figures.p95_us, cell: (row) => rtt(row.figures.p95_us), hint: "95th percentile of the RTT of answered probes" },
    { key: "loss", title: "Loss", align: "right", value: (row) => row.figures.loss_ratio, cell: (row) => <Loss figures={row.figures} />, hint: "Lost probes over all that count" },
    {
      key: "usual",
      title: "vs usual",
      align: "right",
      hint: "p50 against that of the span of equal length before",
      value: (row) => (row.figures.p50_us && row.before.p50_us ? row.figures.p50_us / row.before.p50_us : null),
      cell: (row) => <Usual now={row.figures} before={row.before} />,
    },
    { key: "n", title: "n", align: "right", value: (row) => row.figures.n, cell: (row) => count(row.figures.n), hint: "Probes that count in the window" },
    {
      key: "agents",
      title: "Agents",
      align: "right",
      value: (row) => row.agents,
      cell: (row) => (row.agents_silent > 0 ? <span title={`${plural(row.agents_silent, "agent")} not heard for 3 min`}>{row.agents - row.agents_silent} of {row.agents}</span> : count(row.agents)),
    },
    { key: "ingress", title: "Enters at", value: (row) => row.ingress_metros.join(", "), hint: "Metros where the paths enter Microsoft's network, most used first" },
    {
      key: "events",
      title: "Open",
      align: "right",
      hint: "Events open now",
      value: (row) => row.open_events,
      cell: (row) => (row.open_events > 0 ? <span className="fm-badge" data-tone="shift">{row.open_events}</span> : <span className="fm-muted">0</span>),
    },
  ];
}

interface Ask {
  window: string;
  protocol: string;
  target: string | undefined;
  country: string | undefined;
}

function MapPanel({ ask, hovered }: { ask: Ask; hovered: string | undefined }) {
  const [zoom, setZoom] = useState(1);
  const countries = useQuery(geographiesQuery({ ...ask, level: "country" }));
  const sites = useQuery(geographiesQuery({ ...ask, level: "site" }));
  const pops = useQuery(popsQuery);
  const coarse = useQuery(shapesQuery(coarseUrl, true));
  const fine = useQuery(shapesQuery(fineUrl, zoom > 2.2));
  const navigate = useNavigate();
  const failed = [countries, sites, coarse].find((query) => query.isError && query.data === undefined);
  return (
    <section className="fm-panel fm-map-panel" aria-label="Map">
      {failed?.error ? (
        <Failed what="the map" error={failed.error} retry={() => void failed.refetch()} />
      ) : coarse.data && countries.data && sites.data ? (
        <WorldMap
          shapes={coarse.data}
          fineShapes={fine.data}
          countries={countries.data.rows}
          sites={sites.data.rows}
          pops={pops.data ?? []}
          hovered={hovered}
          onZoom={setZoom}
          onOpen={(scope) => void navigate({ to: "/latency/$", params: { _splat: scope } })}
        />
      ) : (
        <div className="fm-map">
          <Waiting height={400} label="the map" />
        </div>
      )}
      <MapLegend />
      <Unplaced rows={sites.data?.rows ?? []} />
    </section>
  );
}

function Unplaced({ rows }: { rows: readonly GeographyRow[] }) {
  const without = rows.filter((row) => row.latitude === null || row.latitude === undefined);
  if (without.length === 0) return null;
  return (
    <p className="fm-small fm-muted" style={{ padding: "0 12px 8px" }}>
      {plural(without.length, "site")} without a place on the map: {without.slice(0, 4).map((row) => row.name).join(", ")}
      {without.length > 4 ? ", …" : ""}. <Link to="/admin">Declare where they are</Link>.
    </p>
  );
}

function shapesQuery(url: string, enabled: boolean) {
  return {
    queryKey: ["shapes", url],
    queryFn: async ({ signal }: { signal: AbortSignal }): Promise<WorldShapes> => {
      const response = await fetch(url, { signal });
      if (!response.ok) throw new Error(`The map's shapes could not be read (status ${response.status}).`);
      return (await response.json()) as WorldShapes;
    },
    staleTime: Infinity,
    enabled,
  };
}

function Ribbon() {
  const { search, window } = usePageSearch();
  const events = useQuery(eventsQuery(window));
  const navigate = useNavigate();
  return (
    <section className="fm-panel" aria-label="Events of the window">
      <div className="fm-panel-head">
        <h2>Events, {windowWords(window)}</h2>
        <Link to="/events">List</Link>
      </div>
      <div className="fm-panel-body">
        <Loaded query={events} what="the events" waiting={<Waiting height={88} label="events" />}>
          {(list) => {
            const shown = list.filter((event) => (!search.geography || event.country === search.geography) && (!search.target || event.target === search.target));
            const to = Math.max(events.dataUpdatedAt, ...shown.map((event) => event.detected_unix_ms));
            return <EventRibbon events={shown} window={{ from_unix_ms: to - windowMs(window), to_unix_ms: to }} onOpen={([event, ...others]) => void (event && others.length === 0 ? navigate({ to: "/events/$id", params: { id: event.event_id } }) : navigate({ to: "/events" }))} />;
          }}
        </Loaded>
      </div>
    </section>
  );
}

function NoAgents({ filtered }: { filtered: boolean }) {
  return filtered ? (
    <Empty title="No geography passes the filters">
      <p>Remove a filter chip in the bar above to see more.</p>
    </Empty>
  ) : (
    <Empty title="No agent has reported yet">
      <p>
        <Link to="/agents">Add an agent</Link>: a join string and one command on the machine that shall measure.
      </p>
    </Empty>
  );
}
