-- How often what an organisation registered was changed: what was read before is as good as read again while this stands.
CREATE TABLE peering_revision (
    organisation TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
