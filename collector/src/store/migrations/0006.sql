-- Incidents: events that are one. What an incident says is told from its events; here is what finds it, and the order in
-- which incidents changed.

ALTER TABLE event ADD COLUMN incident_id TEXT;
CREATE INDEX event_of_incident ON event (organisation, incident_id) WHERE incident_id IS NOT NULL;

CREATE TABLE incident (
    organisation    TEXT NOT NULL,
    incident_id     TEXT NOT NULL,
    begun_unix_ms   INTEGER NOT NULL,
    ended_unix_ms   INTEGER,
    changed_unix_ms INTEGER NOT NULL,
    change_no       INTEGER NOT NULL,
    PRIMARY KEY (organisation, incident_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX incident_by_time ON incident (organisation, begun_unix_ms);
CREATE INDEX incident_by_change ON incident (organisation, change_no);
CREATE INDEX incident_open ON incident (organisation) WHERE ended_unix_ms IS NULL;

-- The last number that a change of an incident was given: never given twice.
CREATE TABLE incident_change (
    organisation TEXT NOT NULL PRIMARY KEY,
    last_no      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
