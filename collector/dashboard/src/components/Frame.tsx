/** The frame of every page: rail, bar with window and filters, notices, and the login where one is asked for. */
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect } from "react";

import { CallFailure } from "../api/client";
import { useLive } from "../api/live";
import { statusQuery } from "../api/queries";
import { usePageSearch } from "./usePageSearch";
import { Bar } from "./Bar";
import { Icon, type IconName } from "./icons";
import { Login } from "./Login";
import { Notices } from "./Notices";

const PAGES: readonly { to: "/" | "/incidents" | "/events" | "/paths" | "/prefixes" | "/agents" | "/admin"; name: string; icon: IconName; under: string[] }[] = [
  { to: "/", name: "World", icon: "world", under: ["/latency"] },
  { to: "/incidents", name: "Incidents", icon: "incidents", under: ["/incidents"] },
  { to: "/events", name: "Events", icon: "events", under: ["/events"] },
  { to: "/paths", name: "Paths", icon: "paths", under: ["/paths"] },
  { to: "/prefixes", name: "Prefixes", icon: "prefixes", under: ["/prefixes"] },
  { to: "/agents", name: "Agents", icon: "agents", under: ["/agents"] },
  { to: "/admin", name: "Admin", icon: "admin", under: ["/admin"] },
];

export function Frame() {
  const { search } = usePageSearch();
  const status = useQuery(statusQuery);
  const needsLogin = status.error instanceof CallFailure && status.error.status === 401;
  const liveness = useLive(search.live !== "off" && !needsLogin && !status.isPending);
  const pathname = useRouterState({ select: (state) => state.location.pathname });
  const page = PAGES.find(({ to, under }) => pathname === to || under.some((start) => pathname.startsWith(start)));

  useEffect(() => {
    document.title = page ? `${page.name} · firstmile` : "firstmile";
  }, [page]);

  if (needsLogin) return <Login />;
  return (
    <div className="fm-frame">
      <a className="fm-skip" href="#main">
        Skip to the content
      </a>
      <nav className="fm-rail" aria-label="Pages">
        <div className="fm-rail-pages">
        <Link to="/" className="fm-logo" aria-label="firstmile, to the world page" activeProps={{}} aria-current={undefined}>
          <img src="/favicon.svg" width={30} height={30} alt="" />
        </Link>
        {PAGES.map(({ to, name, icon }) => (
          <Link key={to} to={to} aria-current={page?.to === to ? "page" : undefined} activeProps={{}}>
            <Icon name={icon} />
            {name}
          </Link>
        ))}
        </div>
      </nav>
      <div style={{ minWidth: 0 }}>
        <Bar status={status.data} liveness={search.live !== "off" && status.isPending ? "connecting" : liveness} />
        <Notices status={status} />
        <main id="main" className="fm-main" tabIndex={-1}>
          <Outlet />
        </main>
      </div>
    </div>
  );
}
