/** Words for what an agent says of its machine. */

/** `2.9 GB`, with one digit from kilobytes on. */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let rest = value;
  let unit = 0;
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? rest : rest.toFixed(1)} ${units[unit] ?? ""}`;
}

/** `0.3 %` of a share in thousandths. */
export function permille(value: number): string {
  return `${(value / 10).toFixed(1)} %`;
}

/** `1 of 12`. */
export function ratioWords(part: number, whole: number): string {
  return `${part} of ${whole}`;
}
