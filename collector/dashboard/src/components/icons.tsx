/** Line icons, 20 by 20, in the colour of their text. Decoration only: the words beside them carry the meaning. */
const SHAPES = {
  world: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15Zm-7.5 7.5h15M10 2.5c2.6 2.2 3.4 4.6 3.4 7.5s-.8 5.3-3.4 7.5c-2.6-2.2-3.4-4.6-3.4-7.5S7.400 4.700 10 2.500Z",
  events: "M10 3 2.500 16.500h15L10 3Zm0 5v4m0 2.200v.1",
  incidents: "M10 2.500a7.500 7.500 0 1 0 0 15 7.500 7.500 0 0 0 0-15Zm0 3.500v5m0 3v.1",
  paths: "M4 15.500a1.700 1.700 0 1 0 0-.01Zm12-11a1.700 1.700 0 1 0 0-.01ZM5.700 15.500h5a3 3 0 0 0 3-3v0a3 3 0 0 0-3-3h-2a2.500 2.500 0 0 1 0-5h5.600",
  agents: "M3 4h14v9H3V4Zm4 12.500h6M10 13v3.500",
  admin: "M3 6h7m4 0h3M3 14h3m4 0h7M12 4v4M8 12v4",
  search: "M9 3.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11Zm4 9.500 4 4",
  close: "M5.500 5.500l9 9m0-9-9 9",
  geo: "M10 17s-5.500-5-5.500-9a5.500 5.500 0 0 1 11 0c0 4-5.500 9-5.500 9Zm0-7.200a1.800 1.800 0 1 0 0-.01Z",
  local: "M3.500 7h11m-3-3 3 3-3 3M16.500 13h-11m3-3-3 3 3 3",
  provider: "M3 15h3.500c4 0 3-10 7-10H17m-2.500-2.500L17 5l-2.500 2.500M10.500 13.500c.7 1 1.600 1.500 3 1.500H17m-2.500-2.500L17 15l-2.500 2.500",
  partial_geo: "M10 17s-5.500-5-5.500-9a5.500 5.500 0 0 1 11 0c0 4-5.500 9-5.500 9Zm0-14.500v14",
  uplink: "M10 16.500v-10m-4 4 4-4 4 4M3.500 3.500h13",
  unreachable: "M3 10h5m4 0h5M8.500 6.500l3 7",
  redundancy_lost: "M3 6.500h14M3 13.500h4m3 0h1m3 0h3",
  flapping: "M2.500 13l3.500-6 3.500 6L13 7l4.500 6",
  front_door_moved: "M4 17V3.500h7V17M2.500 17h15M13 10h4m-2-2 2 2-2 2M8.500 10v.1",
  prefixes: "M3 5.500h14M3 10h9M3 14.500h5M14 12.500l3 3m0-3-3 3",
  prefix_origin_change: "M10 2.500l6 2.500v5c0 3.500-2.500 6-6 7.500-3.500-1.500-6-4-6-7.500V5l6-2.500Zm0 4v4m0 2.500v.1",
  prefix_hijack: "M10 2.500l6 2.500v5c0 3.500-2.500 6-6 7.500-3.500-1.500-6-4-6-7.500V5l6-2.500Zm-2.500 5 5 5m0-5-5 5",
  prefix_forged_path: "M3 15.500h4l6-11h4M3 4.500h4l1.500 2.700M11.500 12.800l1.500 2.700h4",
  prefix_leak: "M10 3s4.500 5 4.500 8.500a4.500 4.500 0 0 1-9 0C5.500 8 10 3 10 3Z",
  prefix_rpki: "M5 9h10v7.500H5V9Zm2 0V6.500a3 3 0 0 1 6 0V9",
  prefix_policy: "M4 3.500h12v13H4v-13Zm3 4h6m-6 3h6m-6 3h3",
  prefix_withdrawn: "M3 5.500h14M3 10h5m4 0h5M3 14.500h14M8 7.500l4 5",
  site_silent: "M3 16.500V9l5-4 5 4v7.500M15 6l3 3m0-3-3 3M2 16.500h13",
  latency: "M2.500 15h5V7h10M14.500 4l3 3-3 3",
  congestion: "M2.500 15.500c2.500 0 2.500-8 5-8s2.500 8 5 8 2.500-8 5-8",
  loss: "M3 10h3m2.500 0h3m2.500 0h3M8 5l4 10",
  ipdv: "M2.500 10 5 5.500l2.500 9L10 7l2.500 6L15 8.500l2.500 1.500",
  return_path_suspected: "M16.500 13.500H8a4 4 0 0 1 0-8h3M13.500 10.500l3 3-3 3",
} as const;

export type IconName = keyof typeof SHAPES;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={SHAPES[name]} />
    </svg>
  );
}
