/** Search over what the page knows: every word must occur, earlier places rank first. */
export interface Finding {
  kind: string;
  title: string;
  detail: string;
  /** Path within the dashboard. */
  to: string;
  /** Further text to match, such as addresses. */
  words: string;
}

/** The findings for a text, best first. */
export function find(all: readonly Finding[], text: string, limit = 12): Finding[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return all
    .map((finding) => ({ finding, rank: rank(finding, words) }))
    .filter((scored) => scored.rank !== undefined)
    .sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0))
    .slice(0, limit)
    .map(({ finding }) => finding);
}

function rank(finding: Finding, words: readonly string[]): number | undefined {
  const title = finding.title.toLowerCase();
  const all = `${title} ${finding.detail} ${finding.words}`.toLowerCase();
  let sum = 0;
  for (const word of words) {
    const place = title.indexOf(word);
    if (place === 0) continue;
    if (place > 0) sum += 1;
    else if (all.includes(word)) sum += 3;
    else return undefined;
  }
  return sum;
}
