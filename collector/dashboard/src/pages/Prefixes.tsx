/** Are our prefixes announced as they should be? Registered prefixes with their state, what routing says, and who tells us. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { feedsQuery, prefixesQuery, routeStatisticsQuery, verdictsQuery } from "../api/queries";
import type { RegisteredPrefix, RouteStatistics, RoutingFeed, RoutingVerdict } from "../api/types";
import { DataTable, type Column } from "../components/DataTable";
import { VerdictTable } from "../components/RoutingPanels";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { Time } from "../components/Time";
import { usePageSearch } from "../components/usePageSearch";
import { plural } from "../lib/format";
import { windowWords } from "../lib/time";

export function Prefixes() {
  const { window } = usePageSearch();
  const prefixes = useQuery(prefixesQuery);
  const feeds = useQuery(feedsQuery);
  const verdicts = useQuery(verdictsQuery(window));
  const statistics = useQuery(routeStatisticsQuery);
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <h1 aria-live="polite">{prefixes.data && verdicts.data && feeds.data ? sentence(prefixes.data, verdicts.data, feeds.data) : "Prefixes"}</h1>
        <p className="fm-muted">Registered prefixes by the rules of the service, and what connected feeds of routes say of them.</p>
      </div>
      <section className="fm-panel" aria-label="Registered prefixes">
        <div className="fm-panel-head">
          <h2>Registered</h2>
        </div>
        <Loaded query={prefixes} what="the prefixes" waiting={<WaitingRows rows={6} label="prefixes" />}>
          {(all) =>
            all.length > 0 ? (
              <DataTable columns={PREFIX_COLUMNS} rows={all} rowKey={(one) => one.id} label="Registered prefixes" initialSort={{ key: "prefix", order: "ascending" }} />
            ) : (
              <Empty title="No prefix is registered">
                <p>Connections and their prefixes are registered over the REST interface of Microsoft.Peering.</p>
              </Empty>
            )
          }
        </Loaded>
      </section>
      <section className="fm-panel" aria-label="Verdicts">
        <div className="fm-panel-head">
          <h2>What routing says</h2>
          <span className="fm-muted fm-small">{windowWords(window)}</span>
        </div>
        <Loaded query={verdicts} what="the verdicts" waiting={<WaitingRows rows={4} label="verdicts" />}>
          {(all) =>
            all.length > 0 ? (
              <VerdictTable verdicts={all} label="Verdicts" />
            ) : (
              <NoVerdict feeds={feeds.data ?? []} window={windowWords(window)} />
            )
          }
        </Loaded>
      </section>
      <section className="fm-panel" aria-label="Routes this month">
        <div className="fm-panel-head">
          <h2>Routes this month</h2>
          <span className="fm-muted fm-small">UTC</span>
        </div>
        <Loaded query={statistics} what="the statistics of routes" waiting={<WaitingRows rows={3} label="statistics" />}>
          {(all) =>
            all.length > 0 ? (
              <DataTable columns={STATISTICS_COLUMNS} rows={all} rowKey={(one) => one.prefix} label="Routes this month" initialSort={{ key: "prefix", order: "ascending" }} />
            ) : (
              <Empty title="Nothing is counted yet">
                <p>Updates, path lengths and visibility of prefixes that have a rule are counted while a feed of routes is connected, and shown here within five minutes.</p>
              </Empty>
            )
          }
        </Loaded>
      </section>
      <section className="fm-panel" aria-label="Feeds">
        <div className="fm-panel-head">
          <h2>Feeds</h2>
        </div>
        <Loaded query={feeds} what="the feeds" waiting={<WaitingRows rows={3} label="feeds" />}>
          {(all) =>
            all.length > 0 ? (
              <DataTable columns={FEED_COLUMNS} rows={all} rowKey={(feed) => feed.name} label="Feeds" />
            ) : (
              <Empty title="No feed is connected">
                <p>Routers by BMP, RIS Live, tables and RPKI are named in the section [routing] of the configuration. Without one, rules about routes are not observable.</p>
              </Empty>
            )
          }
        </Loaded>
      </section>
    </div>
  );
}

/** That no verdict is there says as much as the feeds see. */
function NoVerdict({ feeds, window }: { readonly feeds: readonly RoutingFeed[]; readonly window: string }) {
  if (feeds.length === 0) {
    return (
      <Empty title="No feed shows these routes">
        <p>Hijacks, leaks and lost routes of what is registered appear here once a feed of routes is connected.</p>
      </Empty>
    );
  }
  if (feeds.some((feed) => feed.alarms.length > 0)) {
    return (
      <Empty title={`Nothing seen in the ${window}`}>
        <p>Not every feed below is well: what they would show may be missing.</p>
      </Empty>
    );
  }
  return (
    <Empty title={`Nothing wrong in the ${window}`}>
      <p>Hijacks, leaks and lost routes of what is registered appear here within seconds of a connected feed showing them.</p>
    </Empty>
  );
}

const PREFIX_COLUMNS: readonly Column<RegisteredPrefix>[] = [
  { key: "prefix", title: "Prefix", value: (one) => one.prefix, cell: (one) => <code>{one.prefix}</code> },
  { key: "connection", title: "Connection", value: (one) => one.connection },
  {
    key: "state",
    title: "State",
    hint: "Verified: every rule holds. Unknown: a rule that no connected feed can show.",
    value: (one) => one.state,
    cell: (one) => (
      <span className="fm-badge" data-tone={one.state === "Failed" || one.state === "Invalid" ? "shift" : undefined}>
        {one.state}
      </span>
    ),
  },
  {
    key: "findings",
    title: "Which rule, session and route",
    value: (one) => one.findings.map((finding) => `${finding.rule}: ${finding.detail}`).join("; "),
    cell: (one) =>
      one.findings.length === 0
        ? "–"
        : one.findings.map((finding) => (
            <div key={`${finding.rule} ${finding.session ?? ""} ${finding.detail}`}>
              <strong>{finding.rule}</strong>
              {finding.weight === "not_observable" ? " (not observable)" : ""}
              {finding.session ? ` on ${finding.session}` : ""}
              {finding.as_path ? ` by ${finding.as_path}` : ""}: {finding.detail}
              {(finding.remedy?.bird ?? "") !== "" && (
                <details>
                  <summary>Configuration to mend it (a proposal, never sent)</summary>
                  <pre className="fm-small">{finding.remedy?.bird}</pre>
                  <pre className="fm-small">{finding.remedy?.frr}</pre>
                </details>
              )}
            </div>
          )),
  },
  {
    key: "routes",
    title: "Routes",
    value: (one) => one.routes.length,
    cell: (one) =>
      one.routes.length === 0
        ? "none seen"
        : one.routes.map((route) => (
            <div key={route.session}>
              {route.session}: {route.as_path} <span className="fm-muted">{route.communities?.join(" ") ?? "communities not shown"}</span>
            </div>
          )),
  },
  {
    key: "verdicts",
    title: "Open verdicts",
    align: "right",
    value: (one) => one.verdicts_open,
    cell: (one) =>
      one.incident_id ? (
        <Link to="/incidents/$id" params={{ id: one.incident_id }}>
          {one.verdicts_open}
        </Link>
      ) : (
        one.verdicts_open
      ),
  },
];

const STATISTICS_COLUMNS: readonly Column<RouteStatistics>[] = [
  { key: "prefix", title: "Prefix", value: (one) => one.prefix, cell: (one) => <code>{one.prefix}</code> },
  { key: "announced", title: "Announced", align: "right", value: (one) => one.announced },
  { key: "withdrawn", title: "Withdrawn", align: "right", value: (one) => one.withdrawn },
  {
    key: "hops",
    title: "ASes in the path",
    hint: "The median, then how many announcements had paths of each length. Prepends count once.",
    value: (one) => one.as_hops_p50,
    cell: (one) =>
      one.as_hops.length === 0 ? (
        "–"
      ) : (
        <>
          {one.as_hops_p50} <span className="fm-muted">({one.as_hops.map((of) => `${String(of.hops)}: ${String(of.announced)}`).join(", ")})</span>
        </>
      ),
  },
  {
    key: "visibility",
    title: "Visibility",
    align: "right",
    hint: "Of the peers that feeds showed, those that had a route, looked at each minute.",
    value: (one) => one.visibility_pct,
    cell: (one) => percent(one.visibility_pct),
  },
  { key: "unseen", title: "Seen by nobody", align: "right", hint: "Share of the minutes in which no peer had a route.", value: (one) => one.unseen_pct, cell: (one) => percent(one.unseen_pct) },
];

function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${value.toFixed(2)} %`;
}

const FEED_COLUMNS: readonly Column<RoutingFeed>[] = [
  { key: "name", title: "Feed", value: (feed) => feed.name },
  {
    key: "state",
    title: "State",
    value: (feed) => (feed.alarms.length > 0 ? feed.alarms.join(", ") : feed.connected ? "well" : "not connected"),
    cell: (feed) => (
      <span className="fm-badge" data-tone={feed.alarms.length > 0 ? "shift" : undefined}>
        {feed.alarms.length > 0 ? feed.alarms.join(", ").replaceAll("_", " ") : feed.connected ? "well" : "not connected"}
      </span>
    ),
  },
  { key: "last", title: "Last message", value: (feed) => feed.last_message_unix_ms, cell: (feed) => (feed.last_message_unix_ms ? <Time ms={feed.last_message_unix_ms} exact /> : "–") },
  { key: "messages", title: "Messages", align: "right", value: (feed) => feed.messages },
  { key: "announced", title: "Announced", align: "right", value: (feed) => feed.announced },
  { key: "withdrawn", title: "Withdrawn", align: "right", value: (feed) => feed.withdrawn },
  { key: "sessions", title: "Sessions or payloads", align: "right", value: (feed) => feed.sessions },
  { key: "unread", title: "Unreadable", align: "right", value: (feed) => feed.unread },
  { key: "dropped", title: "Dropped", align: "right", value: (feed) => feed.dropped },
  { key: "gaps", title: "Gaps", align: "right", value: (feed) => feed.gaps },
];

function sentence(prefixes: readonly RegisteredPrefix[], verdicts: readonly RoutingVerdict[], feeds: readonly RoutingFeed[]): string {
  if (prefixes.length === 0) return "No prefix is registered";
  const open = verdicts.filter((verdict) => verdict.ended_unix_ms === null || verdict.ended_unix_ms === undefined);
  const failed = prefixes.filter((one) => one.state === "Failed" || one.state === "Invalid");
  const calm = feeds.length === 0 ? "no feed shows their routes" : "nothing is wrong with their routes";
  const wrong = open.length === 0 ? calm : `${plural(open.length, "verdict")} open`;
  const rules = failed.length === 0 ? "" : `, ${String(failed.length)} break the rules`;
  return `${plural(prefixes.length, "registered prefix", "registered prefixes")}: ${wrong}${rules}`;
}
