/** Offline world map: countries by p50, sites as dots, POPs as squares, arcs only for what is pointed at. */
import { useElementSize } from "@mantine/hooks";
import { geoEqualEarth, geoPath, type GeoProjection } from "d3-geo";
import type { Feature, FeatureCollection, Geometry } from "geojson";
import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";

import type { GeographyRow, Pop } from "../api/types";
import { alpha2OfNumeric, countryName } from "../lib/countries";
import { count, plural, ratio, rtt } from "../lib/format";
import { LATENCY_STEPS, latencyColour } from "../lib/scale";
import { BASE, clampView, fitView, toScreen, zoomBy, type View } from "../lib/view";

export type WorldShapes = Topology<{ countries: GeometryCollection<{ name: string }> }>;

/** What is pointed at: a country, a site, or a POP. */
interface Pointed {
  kind: "country" | "site" | "pop";
  key: string;
  x: number;
  y: number;
}

export function WorldMap({
  shapes,
  fineShapes,
  countries,
  sites,
  pops,
  hovered,
  onOpen,
  onZoom,
}: {
  shapes: WorldShapes;
  /** Finer shapes, once loaded; used when zoomed in. */
  fineShapes: WorldShapes | undefined;
  countries: readonly GeographyRow[];
  sites: readonly GeographyRow[];
  pops: readonly Pop[];
  /** Key of the table row that is pointed at. */
  hovered: string | undefined;
  onOpen: (scope: string) => void;
  /** Hears how near the map is, so that finer shapes are read only when they show. */
  onZoom: (factor: number) => void;
}) {
  const { ref, width, height } = useElementSize();
  const [chosen, setChosen] = useState<View | undefined>();
  const [pointed, setPointed] = useState<Pointed | undefined>();
  const projection = useMemo(() => baseProjection(), []);
  const used = useMemo(() => usedPops(pops, sites), [pops, sites]);
  const view = chosen ?? fitted(projection, sites, used, width, height);
  const world = useCountries(view.k > 2.2 && fineShapes ? fineShapes : shapes, projection);
  useEffect(() => {
    onZoom(view.k);
  }, [onZoom, view.k]);
  const change = (next: View) => {
    setChosen(clampView(next));
  };
  const drag = useDrag(view, width, height, change);
  const place = (longitude: number, latitude: number) => screenPlace(projection, view, width, height, longitude, latitude);
  const rows = new Map(countries.map((row) => [row.country ?? row.key, row]));
  const leave = () => { setPointed(undefined); };

  return (
    <div className="fm-map" ref={ref}>
      {width > 0 && (
        <svg width={width} height={height} role="group" aria-label="World map of RTT. The table beside it holds the same figures." {...drag}>
          <g transform={mapTransform(view, width, height)}>
            {world.map(({ code, name, path }, index) => {
              const row = code ? rows.get(code) : undefined;
              const fill = latencyColour(row?.figures.p50_us);
              return (
                <path
                  key={code ?? `${name} ${index}`}
                  d={path}
                  fill={fill ?? "var(--fm-land)"}
                  fillOpacity={fill ? 0.75 : 1}
                  stroke="var(--fm-sea)"
                  strokeWidth={0.7}
                  vectorEffect="non-scaling-stroke"
                  style={row ? { cursor: "pointer" } : undefined}
                  onPointerMove={row && code ? (move) => { setPointed({ kind: "country", key: code, ...offset(move) }); } : undefined}
                  onPointerLeave={leave}
                  onClick={row ? () => { if (!drag.moved()) onOpen(`country:${row.key}`); } : undefined}
                />
              );
            })}
          </g>
          <Arcs sites={sites} pops={used} place={place} pointed={pointed} hovered={hovered} />
          {pops.map((pop) => {
            const at = place(pop.longitude, pop.latitude);
            const inUse = used.includes(pop);
            if (!at || (!inUse && view.k < 2.5)) return null;
            const size = inUse ? 9 : 4;
            return (
              <g key={pop.code + pop.metro}>
                <rect
                  x={at[0] - size / 2}
                  y={at[1] - size / 2}
                  width={size}
                  height={size}
                  fill={inUse ? "var(--fm-panel)" : "none"}
                  stroke={inUse ? "var(--fm-text)" : "var(--fm-muted)"}
                  strokeWidth={inUse ? 1.8 : 1}
                  onPointerMove={(move) => { setPointed({ kind: "pop", key: pop.metro, ...offset(move) }); }}
                  onPointerLeave={leave}
                />
              </g>
            );
          })}
          {sites.map((row) => (
            <SiteDot key={row.key} row={row} at={placeOf(row, place)} emphasised={hovered === row.key} onOpen={() => { if (!drag.moved()) onOpen(`site:${row.key}`); }} onPoint={setPointed} />
          ))}
          <Labels pops={used} place={place} />
        </svg>
      )}
      <div className="fm-map-tools">
        <button type="button" aria-label="Zoom in" onClick={() => { change(zoomBy(view, 1.6)); }}>+</button>
        <button type="button" aria-label="Zoom out" onClick={() => { change(zoomBy(view, 1 / 1.6)); }}>−</button>
        <button type="button" title="Show all sites" onClick={() => { setChosen(undefined); }}>Sites</button>
        <button type="button" title="Show the whole world" onClick={() => { change({ k: 1, x: 0.5, y: 0.5 }); }}>World</button>
      </div>
      {pointed && <Tip pointed={pointed} countries={rows} sites={sites} pops={used} width={width} />}
    </div>
  );
}

/** The legend: the fixed scale and what the shapes mean. */
export function MapLegend() {
  return (
    <div className="fm-legend">
      <span className="fm-row" style={{ gap: 8 }}>
        <span>p50 RTT in ms</span>
        <span className="fm-scale">
          {LATENCY_STEPS.map((step) => (
            <span key={step.label}>
              <i style={{ background: step.colour }} />
              {step.label}
            </span>
          ))}
        </span>
      </span>
      <span className="fm-row" style={{ gap: 5 }}>
        <svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="4.5" fill="var(--fm-land)" stroke="var(--fm-text)" strokeWidth="1.5" /></svg>
        site
      </span>
      <span className="fm-row" style={{ gap: 5 }}>
        <svg width="12" height="12" aria-hidden="true"><rect x="2" y="2" width="8" height="8" fill="var(--fm-panel)" stroke="var(--fm-text)" strokeWidth="1.8" /></svg>
        POP in use
      </span>
      <span className="fm-row" style={{ gap: 5 }}>
        <svg width="14" height="14" aria-hidden="true"><circle cx="7" cy="7" r="5.5" fill="none" stroke="var(--fm-shift)" strokeWidth="2" /></svg>
        open event
      </span>
      <span className="fm-row" style={{ gap: 5 }}>
        <svg width="14" height="14" aria-hidden="true"><circle cx="7" cy="7" r="5.5" fill="none" stroke="var(--fm-loss)" strokeWidth="2" strokeDasharray="4 2" /></svg>
        loss of 1 % or more
      </span>
    </div>
  );
}

function SiteDot({ row, at, emphasised, onOpen, onPoint }: { row: GeographyRow; at: [number, number] | undefined; emphasised: boolean; onOpen: () => void; onPoint: (pointed: Pointed | undefined) => void }) {
  if (!at) return null;
  const [x, y] = at;
  const colour = latencyColour(row.figures.p50_us);
  const lossy = (row.figures.loss_ratio ?? 0) >= 0.01;
  return (
    <g
      role="link"
      tabIndex={0}
      aria-label={`${row.name}: p50 ${rtt(row.figures.p50_us)}, loss ${ratio(row.figures.loss_ratio)}`}
      style={{ cursor: "pointer" }}
      onClick={onOpen}
      onKeyDown={(key: KeyboardEvent) => { if (key.key === "Enter") onOpen(); }}
      onPointerMove={() => { onPoint({ kind: "site", key: row.key, x, y }); }}
      onPointerLeave={() => { onPoint(undefined); }}
      onFocus={() => { onPoint({ kind: "site", key: row.key, x, y }); }}
      onBlur={() => { onPoint(undefined); }}
    >
      <circle cx={x} cy={y} r={13} fill="transparent" />
      {row.open_events > 0 && <circle cx={x} cy={y} r={lossy ? 13 : 10} fill="none" stroke="var(--fm-shift)" strokeWidth={2.5} />}
      {lossy && <circle cx={x} cy={y} r={9.5} fill="none" stroke="var(--fm-loss)" strokeWidth={2.5} strokeDasharray="4 2" />}
      <circle cx={x} cy={y} r={emphasised ? 8 : 6.5} fill={colour ?? "var(--fm-panel)"} stroke="var(--fm-text)" strokeWidth={1.5} strokeDasharray={colour ? undefined : "2 2"} />
    </g>
  );
}

/** Names of POPs, those that would cover another left out; pointing at the square says it. */
function Labels({ pops, place }: { pops: readonly Pop[]; place: (longitude: number, latitude: number) => [number, number] | undefined }) {
  const taken: [number, number][] = [];
  return pops.map((pop) => {
    const at = place(pop.longitude, pop.latitude);
    if (!at || taken.some(([x, y]) => Math.abs(x - at[0]) < 34 && Math.abs(y - at[1]) < 15)) return null;
    taken.push(at);
    return <Label key={pop.metro} x={at[0]} y={at[1] - 11} text={pop.metro} />;
  });
}

function Label({ x, y, text }: { x: number; y: number; text: string }) {
  return (
    <text x={x} y={y} textAnchor="middle" fontSize={11} fontWeight={600} fill="var(--fm-text)" stroke="var(--fm-sea)" strokeWidth={3} paintOrder="stroke" pointerEvents="none">
      {text}
    </text>
  );
}

function Arcs({ sites, pops, place, pointed, hovered }: { sites: readonly GeographyRow[]; pops: readonly Pop[]; place: (longitude: number, latitude: number) => [number, number] | undefined; pointed: Pointed | undefined; hovered: string | undefined }) {
  const shown = sites.filter(
    (site) =>
      site.key === hovered ||
      (hovered !== undefined && site.country === hovered) ||
      (pointed?.kind === "site" && site.key === pointed.key) ||
      (pointed?.kind === "country" && site.country === pointed.key) ||
      (pointed?.kind === "pop" && site.ingress_metros.includes(pointed.key)),
  );
  return (
    <g pointerEvents="none">
      {shown.flatMap((site) =>
        site.ingress_metros.map((metro) => {
          const pop = pops.find((one) => one.metro === metro);
          const from = placeOf(site, place);
          const to = pop && place(pop.longitude, pop.latitude);
          if (!from || !to) return null;
          const lift = Math.hypot(to[0] - from[0], to[1] - from[1]) * 0.22;
          return <path key={site.key + metro} d={`M${from[0]},${from[1]}Q${(from[0] + to[0]) / 2},${(from[1] + to[1]) / 2 - lift} ${to[0]},${to[1]}`} fill="none" stroke="var(--fm-accent)" strokeWidth={2} />;
        }),
      )}
    </g>
  );
}

function Tip({ pointed, countries, sites, pops, width }: { pointed: Pointed; countries: ReadonlyMap<string, GeographyRow>; sites: readonly GeographyRow[]; pops: readonly Pop[]; width: number }) {
  const row = pointed.kind === "country" ? countries.get(pointed.key) : sites.find((site) => site.key === pointed.key);
  const pop = pointed.kind === "pop" ? pops.find((one) => one.metro === pointed.key) : undefined;
  const entering = pop ? sites.filter((site) => site.ingress_metros.includes(pop.metro)) : [];
  if (!row && !pop) return null;
  const left = pointed.x > width / 2;
  return (
    <div className="fm-map-tip" style={{ top: pointed.y + 12, ...(left ? { right: width - pointed.x + 12 } : { left: pointed.x + 12 }) }}>
      {pop ? (
        <>
          <strong>
            {pop.metro} {pop.name}
          </strong>
          <div>{entering.length > 0 ? `Ingress of ${entering.map((site) => site.name).join(", ")}` : "Serves a site's edge"}</div>
        </>
      ) : (
        row && (
          <>
            <strong>{pointed.kind === "country" ? countryName(row.country ?? row.key) : row.name}</strong>
            <div>
              p50 {rtt(row.figures.p50_us)}, p95 {rtt(row.figures.p95_us)}, loss {ratio(row.figures.loss_ratio)}
            </div>
            <div className="fm-muted">
              n {count(row.figures.n)}, {plural(row.agents, "agent")}
              {row.ingress_metros.length > 0 && `, enters at ${row.ingress_metros.join(", ")}`}
            </div>
            {row.open_events > 0 && <div className="fm-shift">{plural(row.open_events, "open event")}</div>}
          </>
        )
      )}
    </div>
  );
}

/** Dragging moves the view; a click after a drag is none. */
function useDrag(view: View, width: number, height: number, change: (view: View) => void) {
  const start = useRef<{ x: number; y: number; view: View } | undefined>(undefined);
  const moved = useRef(false);
  return {
    moved: () => moved.current,
    onPointerDown: (down: PointerEvent) => {
      moved.current = false;
      start.current = { x: down.clientX, y: down.clientY, view };
    },
    onPointerMove: (move: PointerEvent) => {
      const from = start.current;
      if (!from || move.buttons === 0) return;
      const [dx, dy] = [move.clientX - from.x, move.clientY - from.y];
      if (!moved.current && Math.hypot(dx, dy) < 4) return;
      moved.current = true;
      const scale = baseScale(width, height) * from.view.k;
      change({ k: from.view.k, x: from.view.x - dx / (BASE.width * scale), y: from.view.y - dy / (BASE.height * scale) });
    },
    onPointerUp: () => {
      start.current = undefined;
    },
  };
}

function useCountries(shapes: WorldShapes, projection: GeoProjection) {
  return useMemo(() => {
    const draw = geoPath(projection).digits(2);
    const all = feature(shapes, shapes.objects.countries) as FeatureCollection<Geometry, { name: string }>;
    return all.features.filter((shape) => alpha2OfNumeric(shape.id) !== "AQ").map((shape: Feature<Geometry, { name: string }>) => ({
      code: alpha2OfNumeric(shape.id),
      name: shape.properties.name,
      path: draw(shape) ?? "",
    }));
  }, [shapes, projection]);
}

function baseProjection(): GeoProjection {
  // Antarctica is left out: nobody measures from there, and it would take a fifth of the height.
  return geoEqualEarth().fitSize([BASE.width, BASE.height], { type: "MultiPoint", coordinates: [[-180, 0], [180, 0], [0, 81], [0, -57]] });
}

function baseScale(width: number, height: number): number {
  return Math.min(width / BASE.width, height / BASE.height);
}

function mapTransform(view: View, width: number, height: number): string {
  const scale = baseScale(width, height) * view.k;
  return `translate(${width / 2 - view.x * BASE.width * scale},${height / 2 - view.y * BASE.height * scale}) scale(${scale})`;
}

function screenPlace(projection: GeoProjection, view: View, width: number, height: number, longitude: number, latitude: number): [number, number] | undefined {
  const point = projection([longitude, latitude]);
  return point ? toScreen(view, baseScale(width, height), width, height, point) : undefined;
}

function placeOf(row: GeographyRow, place: (longitude: number, latitude: number) => [number, number] | undefined): [number, number] | undefined {
  const { longitude, latitude } = row;
  return longitude === null || longitude === undefined || latitude === null || latitude === undefined ? undefined : place(longitude, latitude);
}

function usedPops(pops: readonly Pop[], sites: readonly GeographyRow[]): Pop[] {
  const metros = new Set(sites.flatMap((site) => site.ingress_metros));
  const seen = new Set<string>();
  return pops.filter((pop) => {
    if (!metros.has(pop.metro) || seen.has(pop.metro)) return false;
    seen.add(pop.metro);
    return true;
  });
}

function fitted(projection: GeoProjection, sites: readonly GeographyRow[], pops: readonly Pop[], width: number, height: number): View {
  const points = [...sites, ...pops].flatMap(({ longitude, latitude }) => {
    if (longitude === null || longitude === undefined || latitude === null || latitude === undefined) return [];
    const point = projection([longitude, latitude]);
    return point ? [point] : [];
  });
  const scale = baseScale(width || BASE.width, height || BASE.height);
  return fitView(points, (width || BASE.width) / scale, (height || BASE.height) / scale);
}

function offset(move: PointerEvent): { x: number; y: number } {
  const svg = (move.currentTarget as SVGElement).ownerSVGElement;
  const box = svg?.getBoundingClientRect();
  return { x: move.clientX - (box?.left ?? 0), y: move.clientY - (box?.top ?? 0) };
}
