-- How routes to registered prefixes fared in a month of UTC (`2026-11`): announcements by path length, withdrawals, who had a route; as JSON.
CREATE TABLE route_month (
    organisation TEXT NOT NULL,
    month TEXT NOT NULL,
    prefix TEXT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (organisation, month, prefix)
) STRICT, WITHOUT ROWID;
