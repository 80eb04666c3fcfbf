/** Join strings, and where the sites are. */
import { Button, NumberInput, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { send } from "../api/client";
import { FIGURES, sitesQuery } from "../api/queries";
import type { Site, SitePatch } from "../api/types";
import { AddAgent } from "../components/AddAgent";
import { DataTable, type Column } from "../components/DataTable";
import { Empty, Loaded, WaitingRows } from "../components/states";
import { countryName } from "../lib/countries";

export function Admin() {
  const sites = useQuery(sitesQuery);
  const [editing, setEditing] = useState<string | undefined>();
  const edited = sites.data?.find((site) => site.site_id === editing);
  return (
    <div className="fm-page">
      <div className="fm-headline">
        <h1>Admin</h1>
        <p className="fm-muted">Let agents in, and say where the sites are. What is declared wins over what is guessed from addresses.</p>
      </div>
      <AddAgent />
      {edited && <EditSite key={edited.site_id} site={edited} close={() => { setEditing(undefined); }} />}
      <section className="fm-panel" aria-label="Sites">
        <div className="fm-panel-head">
          <h2>Sites</h2>
        </div>
        <Loaded query={sites} what="the sites" waiting={<WaitingRows rows={6} label="sites" />}>
          {(all) =>
            all.length > 0 ? (
              <DataTable columns={columns(setEditing)} rows={all} rowKey={(site) => site.site_id} label="Sites" initialSort={{ key: "name", order: "ascending" }} selected={(site) => site.site_id === editing} />
            ) : (
              <Empty title="No site yet">
                <p>A site is made with the first join string that names it.</p>
              </Empty>
            )
          }
        </Loaded>
      </section>
    </div>
  );
}

function columns(edit: (id: string) => void): Column<Site>[] {
  return [
    { key: "name", title: "Site", value: (site) => site.name, cell: (site) => <Link to="/latency/$" params={{ _splat: `site:${site.site_id}` }}>{site.name}</Link> },
    { key: "country", title: "Country", value: (site) => (site.country ? `${countryName(site.country)} (${site.country})` : null) },
    { key: "subdivision", title: "Subdivision", value: (site) => site.subdivision },
    { key: "metro", title: "Metro", value: (site) => site.metro },
    { key: "latitude", title: "Latitude", align: "right", value: (site) => site.latitude, cell: (site) => degrees(site.latitude) },
    { key: "longitude", title: "Longitude", align: "right", value: (site) => site.longitude, cell: (site) => degrees(site.longitude) },
    { key: "source", title: "Known from", value: (site) => ({ declared: "declared", country_table: "its address", unknown: "not known" })[site.geography_source] ?? site.geography_source },
    {
      key: "edit",
      title: "Change",
      value: () => null,
      cell: (site) => (
        <Button size="compact-xs" variant="default" aria-label={`Edit ${site.name}`} onClick={() => { edit(site.site_id); }}>
          Edit
        </Button>
      ),
    },
  ];
}

function EditSite({ site, close }: { site: Site; close: () => void }) {
  const client = useQueryClient();
  const [draft, setDraft] = useState<Draft>({
    name: site.name,
    country: site.country ?? "",
    subdivision: site.subdivision ?? "",
    metro: site.metro ?? "",
    latitude: site.latitude ?? "",
    longitude: site.longitude ?? "",
  });
  const save = useMutation({
    mutationFn: (patch: SitePatch) => send<Site>("PATCH", `/sites/${encodeURIComponent(site.site_id)}`, patch),
    onSuccess: async () => {
      await Promise.all([client.invalidateQueries({ queryKey: sitesQuery.queryKey }), client.invalidateQueries({ queryKey: [FIGURES] })]);
      close();
    },
  });
  const text = (key: "name" | "country" | "subdivision" | "metro", label: string, description: string, length?: number) => (
    <TextInput label={label} description={description} maxLength={length ?? 80} required={key === "name"} value={draft[key]} onChange={(change) => { setDraft({ ...draft, [key]: change.currentTarget.value }); }} />
  );
  const number = (key: "latitude" | "longitude", label: string, description: string, limit: number) => (
    <NumberInput label={label} description={description} min={-limit} max={limit} decimalScale={4} hideControls value={draft[key]} onChange={(value) => { setDraft({ ...draft, [key]: value }); }} />
  );
  return (
    <section className="fm-panel" aria-label={`Edit ${site.name}`}>
      <div className="fm-panel-head">
        <h2>Edit {site.name}</h2>
      </div>
      <form
        className="fm-panel-body"
        onSubmit={(submit) => {
          submit.preventDefault();
          save.mutate(toPatch(draft));
        }}
      >
        <div className="fm-form">
          {text("name", "Name", "For people")}
          {text("country", "Country", "Two letters, such as NL", 2)}
          {text("subdivision", "Subdivision", "Such as NL-NH", 6)}
          {text("metro", "Metro", "City or area")}
          {number("latitude", "Latitude", "Degrees, north positive", 90)}
          {number("longitude", "Longitude", "Degrees, east positive", 180)}
        </div>
        <div className="fm-row" style={{ marginTop: 12 }}>
          <Button type="submit" loading={save.isPending}>
            Save
          </Button>
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          {save.isError && (
            <span className="fm-loss" role="alert">
              {save.error.message}
            </span>
          )}
        </div>
      </form>
    </section>
  );
}

interface Draft {
  name: string;
  country: string;
  subdivision: string;
  metro: string;
  latitude: number | string;
  longitude: number | string;
}

/** An emptied field clears. */
function toPatch(draft: Draft): SitePatch {
  const word = (value: string) => value.trim() || null;
  const number = (value: number | string) => (typeof value === "number" ? value : null);
  return {
    name: draft.name.trim(),
    country: word(draft.country.toUpperCase()),
    subdivision: word(draft.subdivision.toUpperCase()),
    metro: word(draft.metro),
    latitude: number(draft.latitude),
    longitude: number(draft.longitude),
  };
}

function degrees(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${value.toFixed(2)}°`;
}
