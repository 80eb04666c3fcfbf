-- Routing: what was wrong with routes, when it started and when it ended.

CREATE TABLE routing_verdict (
    verdict_no      INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation    TEXT NOT NULL,
    class           TEXT NOT NULL,
    prefix          TEXT NOT NULL,
    matched         TEXT,
    offender        INTEGER,
    severity        TEXT NOT NULL,
    peers           INTEGER NOT NULL,
    others          INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    evidence        TEXT NOT NULL,
    started_unix_ms INTEGER NOT NULL,
    stored_unix_ms  INTEGER NOT NULL,
    ended_unix_ms   INTEGER,
    ending          TEXT
) STRICT;
CREATE INDEX routing_verdict_open ON routing_verdict (organisation, class, prefix) WHERE ended_unix_ms IS NULL;
CREATE INDEX routing_verdict_started ON routing_verdict (organisation, started_unix_ms);
CREATE INDEX routing_verdict_ended ON routing_verdict (ended_unix_ms) WHERE ended_unix_ms IS NOT NULL;
