-- What agents say of their machines and of handshakes: the newest of each kind and key, of changes the last few.

CREATE TABLE agent_fact (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    key          TEXT NOT NULL,
    at_unix_ms   INTEGER NOT NULL,
    form         TEXT NOT NULL,
    PRIMARY KEY (organisation, agent_no, kind, key)
) STRICT, WITHOUT ROWID;
