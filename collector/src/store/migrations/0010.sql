-- The path comparison is another one: what the first one remembered is of no use to it, so paths are learned afresh, and the events
-- that it left open end here.

DROP TABLE path_memory;
CREATE TABLE path_memory (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    brief        TEXT NOT NULL,
    form         BLOB NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

UPDATE event SET ended_unix_ms = max(begun_unix_ms, coalesce(json_extract(form, '$.detected_unix_ms'), begun_unix_ms)),
    form = json_set(form, '$.state', 'closed', '$.ending', 'not_observed',
        '$.ended_unix_ms', max(begun_unix_ms, coalesce(json_extract(form, '$.detected_unix_ms'), begun_unix_ms)))
    WHERE ended_unix_ms IS NULL;

-- The newest whole round on the usual path of each (agent, target), and the two whole rounds that show an event.
CREATE TABLE usual_round (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_round (
    organisation TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    side         TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, event_id, side)
) STRICT, WITHOUT ROWID;
