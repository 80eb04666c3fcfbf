/** Search with the keyboard: `/` opens, arrows move, Enter goes. */
import { Modal, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useId, useState } from "react";

import { agentsQuery, sitesQuery } from "../api/queries";
import type { Agent, Site } from "../api/types";
import { countryName } from "../lib/countries";
import { find, type Finding } from "../lib/find";
import { Icon } from "./icons";

export function SearchBox() {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (key: KeyboardEvent) => {
      if (key.key !== "/" || key.ctrlKey || key.metaKey || key.altKey || isTyping(key.target)) return;
      key.preventDefault();
      setOpen(true);
    };
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("keydown", onKey);
    };
  }, []);
  return (
    <>
      <button type="button" className="fm-search-button" aria-label="Search" aria-keyshortcuts="/" onClick={() => { setOpen(true); }}>
        <Icon name="search" size={15} />
        Search
        <span className="fm-kbd" aria-hidden="true">/</span>
      </button>
      <Modal opened={open} onClose={() => { setOpen(false); }} title="Search" size="lg" yOffset="10vh" transitionProps={{ duration: 0 }} returnFocus>
        {open && <Results close={() => { setOpen(false); }} />}
      </Modal>
    </>
  );
}

function Results({ close }: { close: () => void }) {
  const [text, setText] = useState("");
  const [index, setIndex] = useState(0);
  const listId = useId();
  const navigate = useNavigate();
  const sites = useQuery(sitesQuery);
  const agents = useQuery(agentsQuery);
  const results = find(findings(sites.data ?? [], agents.data ?? []), text);
  const chosen = Math.min(index, results.length - 1);
  const go = (finding: Finding | undefined) => {
    if (!finding) return;
    close();
    void navigate({ href: finding.to });
  };
  return (
    <>
      <TextInput
        data-autofocus
        size="sm"
        role="combobox"
        aria-expanded="true"
        aria-controls={listId}
        aria-activedescendant={results.length > 0 ? `${listId}-${chosen}` : undefined}
        aria-label="Search sites, agents, addresses, metros, targets"
        placeholder="Site, agent, address, metro, country, target"
        value={text}
        onChange={(change) => {
          setText(change.currentTarget.value);
          setIndex(0);
        }}
        onKeyDown={(key) => {
          if (key.key === "ArrowDown") setIndex(Math.min(chosen + 1, results.length - 1));
          else if (key.key === "ArrowUp") setIndex(Math.max(chosen - 1, 0));
          else if (key.key === "Enter") go(results[chosen]);
          else return;
          key.preventDefault();
        }}
      />
      {(sites.isError || agents.isError) && (
        <p className="fm-loss fm-small" role="alert" style={{ marginTop: 8 }}>
          {(sites.error ?? agents.error)?.message}
        </p>
      )}
      <ul className="fm-results" id={listId} role="listbox" aria-label="Results">
        {results.map((finding, place) => (
          <li
            key={finding.to + finding.title}
            id={`${listId}-${place}`}
            role="option"
            aria-selected={place === chosen}
            onMouseMove={() => { setIndex(place); }}
            onClick={() => { go(finding); }}
          >
            <small style={{ width: 58, flex: "none" }}>{finding.kind}</small>
            <span>{finding.title}</span>
            <small>{finding.detail}</small>
          </li>
        ))}
      </ul>
      {results.length === 0 && !sites.isPending && !agents.isPending && (
        <p className="fm-muted" style={{ padding: "6px 10px" }}>
          Nothing matches “{text}”. Sites, agents, targets with their addresses, metros and countries can be found.
        </p>
      )}
    </>
  );
}

function findings(sites: readonly Site[], agents: readonly Agent[]): Finding[] {
  const all: Finding[] = [];
  for (const site of sites) {
    all.push({ kind: "Site", title: site.name, detail: place(site), to: `/latency/site:${encodeURIComponent(site.site_id)}`, words: site.site_id });
  }
  for (const agent of agents) {
    all.push({ kind: "Agent", title: agent.hostname, detail: `${agent.site.name} · ${agent.version}`, to: `/agents/${encodeURIComponent(agent.agent_id)}`, words: agent.agent_id });
    for (const target of agent.targets) {
      all.push({
        kind: "Path",
        title: `${agent.site.name} → ${target.name}`,
        detail: [target.address, target.ingress_pop?.metro].filter(Boolean).join(" · "),
        to: `/paths?agent=${encodeURIComponent(agent.agent_id)}&target=${encodeURIComponent(target.name)}`,
        words: [target.host, target.edge_pop?.metro, target.edge_pop?.name, target.ingress_pop?.name, agent.hostname].join(" "),
      });
    }
  }
  for (const country of new Set(sites.map((site) => site.country))) {
    if (country) all.push({ kind: "Country", title: countryName(country), detail: country, to: `/latency/country:${country}`, words: "" });
  }
  return all.concat(metros(sites));
}

function metros(sites: readonly Site[]): Finding[] {
  const keys = new Map<string, Finding>();
  for (const { country, metro } of sites) {
    if (!country || !metro) continue;
    const key = `${country}/${metro}`;
    keys.set(key, { kind: "Metro", title: metro, detail: countryName(country), to: `/latency/metro:${country}/${encodeURIComponent(metro)}`, words: "" });
  }
  return [...keys.values()];
}

function place(site: Site): string {
  return [site.metro, site.country ? countryName(site.country) : "geography unknown"].filter(Boolean).join(", ");
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}
