-- Notifications: what was told of each incident, the messages on their way, and what people said of incidents.

CREATE TABLE notify_told (
    organisation    TEXT NOT NULL,
    incident_id     TEXT NOT NULL,
    changed_unix_ms INTEGER NOT NULL,
    form            TEXT NOT NULL,
    PRIMARY KEY (organisation, incident_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE notify_outbox (
    letter_no        INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation     TEXT NOT NULL,
    channel          TEXT NOT NULL,
    message_id       TEXT NOT NULL,
    incident_id      TEXT NOT NULL,
    phase            TEXT NOT NULL,
    created_unix_ms  INTEGER NOT NULL,
    due_unix_ms      INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    last_error       TEXT,
    state            TEXT NOT NULL,
    finished_unix_ms INTEGER,
    notice           TEXT NOT NULL,
    UNIQUE (organisation, channel, message_id)
) STRICT;
CREATE INDEX notify_outbox_waiting ON notify_outbox (organisation, channel, letter_no) WHERE state = 'waiting';
CREATE INDEX notify_outbox_finished ON notify_outbox (finished_unix_ms) WHERE state <> 'waiting';
CREATE INDEX notify_outbox_of_incident ON notify_outbox (organisation, incident_id);

CREATE TABLE incident_acknowledged (
    organisation TEXT NOT NULL,
    incident_id  TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    who          TEXT NOT NULL,
    PRIMARY KEY (organisation, incident_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE incident_note (
    note_no      INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation TEXT NOT NULL,
    incident_id  TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    who          TEXT NOT NULL,
    note         TEXT NOT NULL
) STRICT;
CREATE INDEX incident_note_of ON incident_note (organisation, incident_id, note_no);

CREATE TABLE change_window (
    organisation    TEXT NOT NULL,
    window_id       TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    who             TEXT NOT NULL,
    form            TEXT NOT NULL,
    PRIMARY KEY (organisation, window_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE site_zone (
    organisation TEXT NOT NULL,
    site_id      TEXT NOT NULL,
    zone         TEXT NOT NULL,
    PRIMARY KEY (organisation, site_id)
) STRICT, WITHOUT ROWID;
