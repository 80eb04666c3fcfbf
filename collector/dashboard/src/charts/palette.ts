/** The colours of `app.css` for canvases, which cannot read variables by themselves. */
export interface Palette {
  text: string;
  muted: string;
  line: string;
  panel: string;
  bandOuter: string;
  bandInner: string;
  p50: string;
  floor: string;
  loss: string;
  shift: string;
}

/** Reads the colours of the scheme that is in force now. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--fm-${name}`).trim();
  return {
    text: read("text"),
    muted: read("muted"),
    line: read("line"),
    panel: read("panel"),
    bandOuter: read("band-outer"),
    bandInner: read("band-inner"),
    p50: read("p50"),
    floor: read("floor"),
    loss: read("loss"),
    shift: read("shift"),
  };
}
