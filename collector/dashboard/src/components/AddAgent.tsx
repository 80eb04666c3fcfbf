/** Makes a join string and shows what to run on the new machine. */
import { Button, NumberInput, Select, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import { sitesQuery } from "../api/queries";
import type { JoinStringRequest, JoinStringResponse } from "../api/types";
import { duration } from "../lib/format";
import { joinCommands } from "../lib/join";
import { useNow } from "./useNow";
import { Time } from "./Time";

const LIVES = [
  { value: "3600", label: "1 hour" },
  { value: "86400", label: "1 day" },
  { value: "604800", label: "7 days" },
];

export function AddAgent({ close }: { close?: () => void }) {
  const client = useQueryClient();
  const sites = useQuery(sitesQuery);
  const [site, setSite] = useState("");
  const [country, setCountry] = useState("");
  const [subdivision, setSubdivision] = useState("");
  const [metro, setMetro] = useState("");
  const [latitude, setLatitude] = useState<number | undefined>();
  const [longitude, setLongitude] = useState<number | undefined>();
  const [life, setLife] = useState("86400");
  const known = sites.data?.find((one) => one.name === site.trim());
  const make = useMutation({
    mutationFn: (request: JoinStringRequest) => send<JoinStringResponse>("POST", "/join-strings", request),
    onSuccess: () => client.invalidateQueries({ queryKey: sitesQuery.queryKey }),
  });

  return (
    <section className="fm-panel" aria-label="Add an agent">
      <div className="fm-panel-head">
        <h2>Add an agent</h2>
        <span style={{ flex: 1 }} />
        {close && (
          <Button size="compact-xs" variant="default" onClick={close}>
            Close
          </Button>
        )}
      </div>
      <form
        className="fm-panel-body"
        onSubmit={(submit) => {
          submit.preventDefault();
          const place = known
            ? {}
            : { country: country.trim().toUpperCase() || null, subdivision: subdivision.trim().toUpperCase() || null, metro: metro.trim() || null, latitude: latitude ?? null, longitude: longitude ?? null };
          make.mutate({ site: site.trim(), ...place, expires_s: Number(life) });
        }}
      >
        <div className="fm-form">
          <TextInput label="Site" description="An existing site or a new one" required list="fm-sites" value={site} onChange={(change) => { setSite(change.currentTarget.value); }} />
          <datalist id="fm-sites">
            {(sites.data ?? []).map((one) => (
              <option key={one.site_id} value={one.name} />
            ))}
          </datalist>
          <Select label="Valid for" description="It can be used once" data={LIVES} value={life} allowDeselect={false} onChange={(value) => { setLife(value ?? "86400"); }} />
          {!known && (
            <>
              <TextInput label="Country" description="Two letters, such as NL" maxLength={2} value={country} onChange={(change) => { setCountry(change.currentTarget.value); }} />
              <TextInput label="Subdivision" description="Such as NL-NH" maxLength={6} value={subdivision} onChange={(change) => { setSubdivision(change.currentTarget.value); }} />
              <TextInput label="Metro" description="City or area" value={metro} onChange={(change) => { setMetro(change.currentTarget.value); }} />
              <NumberInput label="Latitude" description="Degrees, north positive" min={-90} max={90} decimalScale={4} hideControls value={latitude ?? ""} onChange={(value) => { setLatitude(typeof value === "number" ? value : undefined); }} />
              <NumberInput label="Longitude" description="Degrees, east positive" min={-180} max={180} decimalScale={4} hideControls value={longitude ?? ""} onChange={(value) => { setLongitude(typeof value === "number" ? value : undefined); }} />
            </>
          )}
        </div>
        {!known && <p className="fm-small fm-muted" style={{ marginTop: 8 }}>The place of a new site may be left empty and declared later; until then the country is guessed from the agent’s address.</p>}
        <div className="fm-row" style={{ marginTop: 12 }}>
          <Button type="submit" loading={make.isPending} disabled={site.trim() === ""}>
            Make a join string
          </Button>
          {make.isError && (
            <span className="fm-loss" role="alert">
              {make.error.message}
            </span>
          )}
        </div>
      </form>
      {make.data && <Commands response={make.data} />}
    </section>
  );
}

function Commands({ response }: { response: JoinStringResponse }) {
  const now = useNow();
  const commands = joinCommands(response.join_string);
  return (
    <div className="fm-panel-body" style={{ borderTop: "1px solid var(--fm-line)", display: "grid", gap: 12 }}>
      <p>
        For one agent at <strong>{response.site?.name}</strong>, until <Time ms={response.expires_unix_ms} /> (in {duration(Math.max(0, response.expires_unix_ms - now))}). It is shown only now: copy it.
      </p>
      <Copyable title="On a machine with the agent’s package" text={commands.installed} />
      <Copyable title="On a machine with the program alone" text={commands.byHand} />
      <Copyable title="The join string alone" text={response.join_string} />
    </div>
  );
}

function Copyable({ title, text }: { title: string; text: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <div>
      <div className="fm-row" style={{ justifyContent: "space-between", marginBottom: 4 }}>
        <h2>{title}</h2>
        <Button
          size="compact-xs"
          variant="default"
          onClick={() => {
            void navigator.clipboard.writeText(text).then(() => {
              setCopied(true);
            });
          }}
        >
          {copied ? "Copied" : "Copy"}
        </Button>
      </div>
      <pre className="fm-code">{text}</pre>
    </div>
  );
}
