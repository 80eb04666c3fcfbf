-- Join strings for many agents, and rules that say which site an agent belongs to.

CREATE TABLE join_grant_of_many (
    secret_digest   BLOB NOT NULL PRIMARY KEY,
    organisation    TEXT NOT NULL,
    site            BLOB,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    uses_max        INTEGER NOT NULL,
    uses            INTEGER NOT NULL,
    spent_unix_ms   INTEGER,
    spent_agent     BLOB,
    revoked         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO join_grant_of_many
    SELECT secret_digest, organisation, site, created_unix_ms, expires_unix_ms, 1, spent_unix_ms IS NOT NULL, spent_unix_ms,
        spent_agent, revoked FROM join_grant;
DROP TABLE join_grant;
ALTER TABLE join_grant_of_many RENAME TO join_grant;

CREATE TABLE site_rule (
    organisation TEXT NOT NULL,
    rule         TEXT NOT NULL,
    site         BLOB NOT NULL,
    PRIMARY KEY (organisation, rule)
) STRICT, WITHOUT ROWID;
