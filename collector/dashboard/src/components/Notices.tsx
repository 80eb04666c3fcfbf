/** What somebody should know before reading any figure. */
import type { UseQueryResult } from "@tanstack/react-query";

import type { Status } from "../api/types";
import { clockTime } from "../lib/time";

export function Notices({ status }: { status: UseQueryResult<Status> }) {
  const notices = status.data?.notices ?? [];
  const lost = status.isError;
  if (!lost && notices.length === 0) return null;
  return (
    <section className="fm-notices" aria-label="Notices" aria-live="polite">
      {lost && (
        <div className="fm-notice" data-level="error" data-code="collector_unreachable" role="alert">
          <strong>Collector not answering.</strong>
          <span>
            {status.error.message}
            {status.data && ` Figures on this page are as of ${clockTime(status.dataUpdatedAt)}.`}
          </span>
        </div>
      )}
      {!lost &&
        notices.map((notice) => (
          <div key={notice.code + notice.text} className="fm-notice" data-level={notice.level} data-code={notice.code}>
            {TITLES[notice.code] && <strong>{TITLES[notice.code]}</strong>}
            <span>
              <WithCommands text={notice.text} />
            </span>
          </div>
        ))}
    </section>
  );
}

const TITLES: Record<string, string> = {
  no_edge_reached: "No edge reached.",
};

/** Marks what stands in backquotes, and the lab's command, as code. */
function WithCommands({ text }: { text: string }) {
  return text.split(/(`[^`]+`)/).map((part, index) =>
    part.startsWith("`") ? <code key={index}>{part.slice(1, -1)}</code> : part,
  );
}
