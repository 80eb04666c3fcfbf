-- One agent's figures beyond its one-minute cells: one row an hour, target and kind ('' for all targets that are answered), made
-- from the cells in the transaction that deletes them.

CREATE TABLE agent_history (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    protocol     INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    target       TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    cell         BLOB NOT NULL,
    PRIMARY KEY (organisation, agent_no, protocol, phase, target, at_unix_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_history_by_time ON agent_history (organisation, at_unix_ms);
