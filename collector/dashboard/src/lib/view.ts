/** Which part of the map is seen: a zoom factor and the middle, as shares of the base drawing. */
export interface View {
  k: number;
  x: number;
  y: number;
}

/** Size of the base drawing that the projection fills, without Antarctica. */
export const BASE = { width: 1000, height: 412 } as const;

const MAX_ZOOM = 24;

/** Keeps zoom and middle within the drawing. */
export function clampView(view: View): View {
  const within = (value: number) => Math.min(1, Math.max(0, value));
  return { k: Math.min(MAX_ZOOM, Math.max(1, view.k)), x: within(view.x), y: within(view.y) };
}

/** The view zoomed about its middle. */
export function zoomBy(view: View, factor: number): View {
  return clampView({ ...view, k: view.k * factor });
}

/** A view that holds all points with a margin, never nearer than a continent. `width` and `height` are of the base seen at zoom 1. */
export function fitView(points: readonly (readonly [number, number])[], width: number, height: number): View {
  if (points.length === 0) return { k: 1, x: 0.5, y: 0.5 };
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const k = Math.min((width * 0.78) / Math.max(right - left, 1), (height * 0.72) / Math.max(bottom - top, 1), 8);
  return clampView({ k, x: (left + right) / 2 / BASE.width, y: (top + bottom) / 2 / BASE.height });
}

/** A point of the base drawing on a screen of `width` by `height`; `scale` is that of zoom 1. */
export function toScreen(view: View, scale: number, width: number, height: number, [x, y]: readonly [number, number]): [number, number] {
  return [width / 2 + (x - view.x * BASE.width) * scale * view.k, height / 2 + (y - view.y * BASE.height) * scale * view.k];
}
