/** What a page shows while it has nothing to show: loading, empty, failed, not found. */
import { Button, Skeleton } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { CallFailure } from "../api/client";

/** A failed call: what failed, why, and a way to try again. */
export function Failed({ what, error, retry }: { what: string; error: Error; retry?: () => void }) {
  return (
    <div className="fm-state" data-kind="error" role="alert">
      <h2>Could not load {what}</h2>
      <p>{error.message}</p>
      {error instanceof CallFailure && (
        <p className="fm-muted fm-small">
          <code>{error.call}</code> · {error.status === undefined ? "no answer" : `status ${error.status}`} · <code>{error.code}</code>
        </p>
      )}
      {retry && (
        <Button variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** Nothing to show, why, and the next step. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="fm-state" data-kind="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** The shape of what is coming. It appears after a moment, so that a fast answer does not flicker. */
export function Waiting({ height, label }: { height: number; label: string }) {
  return (
    <div role="status" aria-label={`Loading ${label}`} style={{ height, padding: 12 }} className="fm-waiting">
      <Skeleton height="100%" />
    </div>
  );
}

/** Rows that are coming. */
export function WaitingRows({ rows, label }: { rows: number; label: string }) {
  return (
    <div role="status" aria-label={`Loading ${label}`} style={{ padding: 12, display: "grid", gap: 10 }} className="fm-waiting">
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height={18} />
      ))}
    </div>
  );
}

/** Shows a query's data, else the state that stands for it. Old data stay visible when a renewal fails. */
export function Loaded<T>({
  query,
  what,
  waiting,
  children,
}: {
  query: UseQueryResult<T>;
  what: string;
  waiting: ReactNode;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined) {
    return (
      <>
        {query.isError && <Stale what={what} query={query} />}
        {children(query.data)}
      </>
    );
  }
  if (query.isError) return <Failed what={what} error={query.error} retry={() => void query.refetch()} />;
  return waiting;
}

function Stale<T>({ what, query }: { what: string; query: UseQueryResult<T> }) {
  const at = new Date(query.dataUpdatedAt);
  return (
    <div className="fm-notice" data-level="warning" role="alert" style={{ margin: 8 }}>
      <span>
        Could not renew {what}: {query.error?.message} Shown is the state of <time dateTime={at.toISOString()}>{at.toLocaleTimeString("en-GB")}</time>.
      </span>
      <Button variant="default" size="compact-xs" onClick={() => void query.refetch()}>
        Try again
      </Button>
    </div>
  );
}

/** An address that no page has. */
export function NotFound() {
  return (
    <div className="fm-panel">
      <Empty title="There is no page at this address">
        <p>
          The link may be cut off. <Link to="/">Go to the world page</Link>.
        </p>
      </Empty>
    </div>
  );
}

/** A page that failed to draw, such as after an upgrade of the collector under an open page. */
export function Broken({ error }: { error: unknown }) {
  return (
    <div className="fm-panel">
      <div className="fm-state" data-kind="error" role="alert">
        <h2>This page could not be shown</h2>
        <p>{error instanceof Error ? error.message : "It failed without a reason."}</p>
        <p className="fm-muted">If the collector was upgraded meanwhile, loading the page again brings the new version.</p>
        <Button
          variant="default"
          onClick={() => {
            location.reload();
          }}
        >
          Load again
        </Button>
      </div>
    </div>
  );
}
