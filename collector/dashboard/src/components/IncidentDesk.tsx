/** What people do with an incident: look after it, note, mute, take the evidence along; and what was told to whom. */
import { Button, Select, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import { incidentMarksQuery, statusQuery } from "../api/queries";
import type { ChangeWindow, IncidentMarks, WindowWish } from "../api/types";
import { WaitingRows, Loaded } from "./states";
import { Time } from "./Time";

const MUTES = [
  { value: "3600000", label: "1 hour" },
  { value: "14400000", label: "4 hours" },
  { value: "86400000", label: "1 day" },
  { value: "604800000", label: "7 days" },
];

export function IncidentDesk({ incidentId }: { incidentId: string }) {
  const marks = useQuery(incidentMarksQuery(incidentId));
  return (
    <section className="fm-panel" aria-label="What people said">
      <div className="fm-panel-head">
        <h2>What people said</h2>
        <span style={{ flex: 1 }} />
        <Button component="a" size="compact-xs" variant="default" href={`/api/v1/incidents/${encodeURIComponent(incidentId)}/evidence`} download>
          Download the evidence
        </Button>
      </div>
      <div className="fm-panel-body">
        <Loaded query={marks} what="what people said" waiting={<WaitingRows rows={3} label="what people said" />}>
          {(data) => <Desk incidentId={incidentId} marks={data} />}
        </Loaded>
      </div>
    </section>
  );
}

function Desk({ incidentId, marks }: { incidentId: string; marks: IncidentMarks }) {
  const status = useQuery(statusQuery);
  const mayChange = status.data?.principal.role === "admin";
  return (
    <>
      <dl className="fm-facts">
        <div>
          <dt>Looked after by</dt>
          <dd>
            {marks.acknowledged ? (
              <>
                {marks.acknowledged.who}, since <Time ms={marks.acknowledged.at_unix_ms} exact />
              </>
            ) : (
              "nobody yet"
            )}
          </dd>
        </div>
        {marks.mutes.filter((mute) => mute.holds).map((mute) => (
          <div key={mute.window_id}>
            <dt>Muted</dt>
            <dd>
              {mute.window.reason} ({mute.who}){mute.window.to_unix_ms != null && <>, until <Time ms={mute.window.to_unix_ms} exact /></>}
            </dd>
          </div>
        ))}
      </dl>
      {mayChange && <Changes incidentId={incidentId} marks={marks} />}
      <Notes marks={marks} />
      <Messages marks={marks} />
    </>
  );
}

function Changes({ incidentId, marks }: { incidentId: string; marks: IncidentMarks }) {
  const client = useQueryClient();
  const [text, setText] = useState("");
  const [lasting, setLasting] = useState("14400000");
  const path = `/incidents/${encodeURIComponent(incidentId)}`;
  const fresh = () => client.invalidateQueries({ queryKey: incidentMarksQuery(incidentId).queryKey });
  const acknowledge = useMutation({
    mutationFn: (on: boolean) => send<IncidentMarks>(on ? "PUT" : "DELETE", `${path}/acknowledgement`, {}),
    onSettled: fresh,
  });
  const note = useMutation({
    mutationFn: (body: { text: string }) => send<IncidentMarks>("POST", `${path}/notes`, body),
    onSuccess: () => { setText(""); },
    onSettled: fresh,
  });
  const mute = useMutation({
    mutationFn: (wish: WindowWish) => send<ChangeWindow>("POST", "/change-windows", wish),
    onSettled: fresh,
  });
  const failed = acknowledge.error ?? note.error ?? mute.error;
  return (
    <>
      <div className="fm-row">
        <Button size="compact-sm" variant="default" loading={acknowledge.isPending} onClick={() => { acknowledge.mutate(marks.acknowledged == null); }}>
          {marks.acknowledged ? "Nobody looks after it" : "I look after it"}
        </Button>
        <Select size="xs" aria-label="Mute for" data={MUTES} value={lasting} allowDeselect={false} onChange={(value) => { setLasting(value ?? "14400000"); }} />
        <Button
          size="compact-sm"
          variant="default"
          loading={mute.isPending}
          onClick={() => {
            const now = Date.now();
            mute.mutate({ reason: "muted on the incident's page", covers: { incident_id: incidentId, site_id: null, geography: null, provider_asn: null }, from_unix_ms: now, to_unix_ms: now + Number(lasting) });
          }}
        >
          Mute
        </Button>
      </div>
      <form
        onSubmit={(submit) => {
          submit.preventDefault();
          note.mutate({ text: text.trim() });
        }}
      >
        <Textarea label="Note" description="What you found; everybody who sees the incident sees it" maxLength={2000} autosize minRows={2} value={text} onChange={(change) => { setText(change.currentTarget.value); }} />
        <Button type="submit" size="compact-sm" mt="xs" disabled={text.trim() === ""} loading={note.isPending}>
          Add the note
        </Button>
      </form>
      {failed && <p role="alert">{failed.message}</p>}
    </>
  );
}

function Notes({ marks }: { marks: IncidentMarks }) {
  return (
    <ul aria-label="Notes">
      {marks.notes.map((note) => (
        <li key={`${note.at_unix_ms} ${note.text}`} style={{ whiteSpace: "pre-wrap" }}>
          <Time ms={note.at_unix_ms} exact /> {note.who}: {note.text}
        </li>
      ))}
    </ul>
  );
}

function Messages({ marks }: { marks: IncidentMarks }) {
  if (marks.messages.length === 0) return <p className="fm-muted">Nobody was told of it.</p>;
  return (
    <ul aria-label="Messages">
      {marks.messages.map((message) => (
        <li key={`${message.channel} ${message.notice.message_id}`}>
          <Time ms={message.created_unix_ms} exact /> {message.notice.phase} to {message.channel}: {message.state}
          {message.last_error != null && message.state !== "delivered" && ` (${message.last_error})`}
        </li>
      ))}
    </ul>
  );
}
