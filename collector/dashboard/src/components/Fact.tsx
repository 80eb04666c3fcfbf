/** One fact of a list of facts: its title and what is so. */
import type { ReactNode } from "react";

export function Fact({ title, hint, children }: { title: string; hint?: string; children: ReactNode }) {
  return (
    <div title={hint}>
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
