-- First form of the embedded store. Every table names its organisation; every key begins with it where rows are looked up by it.
-- Times are milliseconds since the Unix epoch (UTC), identities are the 16 bytes of their UUID, `cell` and `agents` are the
-- bytes forms of rollup::Cell and rollup::AgentSet, `form` is JSON.

CREATE TABLE organisation (
    organisation TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
INSERT INTO organisation (organisation) VALUES ('default');

CREATE TABLE site (
    organisation TEXT NOT NULL,
    site         BLOB NOT NULL,
    name         TEXT NOT NULL,
    geography    TEXT NOT NULL,
    PRIMARY KEY (organisation, site),
    UNIQUE (organisation, name)
) STRICT, WITHOUT ROWID;

-- `agent_no` is what cells and rollups know an agent by: small, never reused.
CREATE TABLE agent (
    agent_no              INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation          TEXT NOT NULL,
    agent                 BLOB NOT NULL,
    site                  BLOB NOT NULL,
    hostname              TEXT NOT NULL,
    version               TEXT NOT NULL,
    os                    TEXT,
    icmp_capability       TEXT,
    enrolled_unix_ms      INTEGER NOT NULL,
    last_seen_unix_ms     INTEGER,
    spool_dropped_reports INTEGER NOT NULL,
    revoked               INTEGER NOT NULL,
    UNIQUE (organisation, agent)
) STRICT;
CREATE INDEX agent_of_site ON agent (organisation, site);

CREATE TABLE join_grant (
    secret_digest   BLOB NOT NULL PRIMARY KEY,
    organisation    TEXT NOT NULL,
    site            BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    spent_unix_ms   INTEGER,
    spent_agent     BLOB,
    revoked         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    audit_no     INTEGER PRIMARY KEY,
    organisation TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    who          TEXT NOT NULL,
    what         TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (organisation, at_unix_ms);

-- Reports as received. `state`: 0 pending, 1 applied, 2 set aside (with the reason).
CREATE TABLE inbox (
    inbox_no         INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation     TEXT NOT NULL,
    agent            BLOB NOT NULL,
    epoch            BLOB NOT NULL,
    sequence         INTEGER NOT NULL,
    received_unix_ms INTEGER NOT NULL,
    state            INTEGER NOT NULL,
    reason           TEXT,
    frame            BLOB NOT NULL,
    UNIQUE (organisation, agent, epoch, sequence)
) STRICT;
CREATE INDEX inbox_pending ON inbox (inbox_no) WHERE state = 0;
CREATE INDEX inbox_by_time ON inbox (received_unix_ms);

-- `stored`: highest sequence ever stored. `forgotten`: up to here the inbox no longer remembers; all of it was stored once.
CREATE TABLE epoch (
    organisation TEXT NOT NULL,
    agent        BLOB NOT NULL,
    epoch        BLOB NOT NULL,
    stored       INTEGER NOT NULL,
    forgotten    INTEGER NOT NULL,
    PRIMARY KEY (organisation, agent, epoch)
) STRICT, WITHOUT ROWID;

-- One-minute cells of one agent: for a geography by (kind, time), for an agent by the index.
CREATE TABLE agent_cell (
    organisation TEXT NOT NULL,
    protocol     INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    cell         BLOB NOT NULL,
    PRIMARY KEY (organisation, protocol, phase, at_unix_ms, agent_no, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_cell_by_agent ON agent_cell (organisation, agent_no, protocol, phase, at_unix_ms);

-- What a protocol ever did at one target of one agent.
CREATE TABLE protocol_history (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    protocol     INTEGER NOT NULL,
    answered     INTEGER NOT NULL,
    probes       INTEGER NOT NULL,
    PRIMARY KEY (organisation, agent_no, target, protocol)
) STRICT, WITHOUT ROWID;

-- Merged cells per geography. `target` is '' for all targets of an agent together. `level`: 0 world, 1 country,
-- 2 subdivision, 3 metro, 4 site. `geography` is the key that the sites had when the window was built.
CREATE TABLE geography_rollup (
    organisation TEXT NOT NULL,
    step_ms      INTEGER NOT NULL,
    level        INTEGER NOT NULL,
    protocol     INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    target       TEXT NOT NULL,
    geography    TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    agents       BLOB NOT NULL,
    cell         BLOB NOT NULL,
    PRIMARY KEY (organisation, step_ms, level, protocol, phase, target, geography, at_unix_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX geography_rollup_by_time ON geography_rollup (organisation, step_ms, at_unix_ms);

-- Every key that geography_rollup ever held, so that all of a level are found without reading them.
CREATE TABLE geography (
    organisation TEXT NOT NULL,
    level        INTEGER NOT NULL,
    geography    TEXT NOT NULL,
    PRIMARY KEY (organisation, level, geography)
) STRICT, WITHOUT ROWID;

-- Windows whose rollup is missing or out of date.
CREATE TABLE rollup_dirty (
    organisation TEXT NOT NULL,
    step_ms      INTEGER NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    PRIMARY KEY (organisation, step_ms, at_unix_ms)
) STRICT, WITHOUT ROWID;

-- Before these times the finer form is deleted, so a rollup there can be added to but not rebuilt.
CREATE TABLE rollup_horizon (
    organisation TEXT NOT NULL,
    step_ms      INTEGER NOT NULL,
    from_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (organisation, step_ms)
) STRICT, WITHOUT ROWID;

-- Newest of its kind for each (agent, target): path round, memory of the path comparison, edge sighting.
CREATE TABLE latest_round (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE path_memory (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE sighting (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE resolution (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    ipv6         INTEGER NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target, ipv6)
) STRICT, WITHOUT ROWID;

CREATE TABLE target (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    host         TEXT NOT NULL,
    port         INTEGER NOT NULL,
    service      TEXT NOT NULL,
    seen_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (organisation, agent_no, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE path_span (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    target       TEXT NOT NULL,
    from_unix_ms INTEGER NOT NULL,
    to_unix_ms   INTEGER NOT NULL,
    rounds       INTEGER NOT NULL,
    identity     TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, target, from_unix_ms)
) STRICT, WITHOUT ROWID;

-- `name` is null where DNS says that there is none.
CREATE TABLE hop_name (
    organisation TEXT NOT NULL,
    address      TEXT NOT NULL,
    name         TEXT,
    PRIMARY KEY (organisation, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    organisation   TEXT NOT NULL,
    event_id       TEXT NOT NULL,
    agent          TEXT NOT NULL,
    begun_unix_ms  INTEGER NOT NULL,
    ended_unix_ms  INTEGER,
    form           TEXT NOT NULL,
    PRIMARY KEY (organisation, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_by_time ON event (organisation, begun_unix_ms);
CREATE INDEX event_open ON event (organisation) WHERE ended_unix_ms IS NULL;
