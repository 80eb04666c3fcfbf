-- Verdicts of routing are incidents, or parts of them.

ALTER TABLE routing_verdict ADD COLUMN incident_id TEXT;
ALTER TABLE routing_verdict ADD COLUMN counter TEXT NOT NULL DEFAULT '[]';
ALTER TABLE routing_verdict ADD COLUMN confirmed_unix_ms INTEGER NOT NULL DEFAULT 0;
UPDATE routing_verdict SET confirmed_unix_ms = stored_unix_ms;
CREATE INDEX routing_verdict_by_prefix ON routing_verdict (organisation, matched, verdict_no) WHERE incident_id IS NOT NULL;
CREATE INDEX routing_verdict_by_offender ON routing_verdict (organisation, offender, class, verdict_no) WHERE incident_id IS NOT NULL;
CREATE INDEX routing_verdict_of ON routing_verdict (organisation, incident_id) WHERE incident_id IS NOT NULL;

-- Incidents that turned out to be parts of another one: what is found for the first is put into the second.
CREATE TABLE incident_part (
    organisation TEXT NOT NULL,
    incident_id  TEXT NOT NULL,
    whole_id     TEXT NOT NULL,
    PRIMARY KEY (organisation, incident_id)
) STRICT, WITHOUT ROWID;
