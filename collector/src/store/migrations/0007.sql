-- What is registered of connections, prefixes and peerings, one JSON text each, and tokens for scripts.

CREATE TABLE peering_resource (
    organisation    TEXT NOT NULL,
    id              TEXT NOT NULL,
    body            TEXT NOT NULL,
    changed_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (organisation, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_token (
    digest          BLOB NOT NULL PRIMARY KEY,
    organisation    TEXT NOT NULL,
    name            TEXT NOT NULL,
    role            TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    UNIQUE (organisation, name)
) STRICT, WITHOUT ROWID;
