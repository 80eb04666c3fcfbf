import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";

import { DEFAULT_PROTOCOL, DEFAULT_WINDOW, parseSearch, type PageSearch, type Protocol } from "../lib/search";
import type { WindowName } from "../lib/time";

/** The address bar's state and the one way to change it. A change of filter is no new page in the history. */
export function usePageSearch(): {
  search: PageSearch;
  window: WindowName;
  protocol: Protocol;
  change: (part: { [Key in keyof PageSearch]: PageSearch[Key] | undefined }) => void;
} {
  const search = parseSearch(useSearch({ strict: false }));
  const navigate = useNavigate();
  const change = useCallback(
    (part: { [Key in keyof PageSearch]: PageSearch[Key] | undefined }) => {
      // The middlewares of the root route retain what is absent, so a cleared value is said as undefined.
      void navigate({ to: ".", search: (now) => ({ ...now, ...part }), replace: true, resetScroll: false } as Parameters<typeof navigate>[0]);
    },
    [navigate],
  );
  return { search, window: search.window ?? DEFAULT_WINDOW, protocol: search.protocol ?? DEFAULT_PROTOCOL, change };
}
