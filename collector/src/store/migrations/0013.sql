-- Samples lie in files of days beside this one (docs/adr/0006-files-of-days.md); here is what they need of a transaction.

-- What a series of an agent stands for. `series_no` counts from 0 for each agent; `destination` is '' where the name did not resolve.
CREATE TABLE sample_series (
    organisation TEXT NOT NULL,
    agent_no     INTEGER NOT NULL,
    series_no    INTEGER NOT NULL,
    target       TEXT NOT NULL,
    destination  TEXT NOT NULL,
    protocol     INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    PRIMARY KEY (agent_no, series_no)
) STRICT, WITHOUT ROWID;

-- Samples of applied reports, written in the transaction that marks the report: a row for each report, until they are in a chunk.
CREATE TABLE sample_inbox (
    row_no       INTEGER PRIMARY KEY,
    organisation TEXT NOT NULL,
    batch        BLOB NOT NULL
) STRICT;

-- Rows of it that cannot be read.
CREATE TABLE sample_unreadable (
    row_no       INTEGER PRIMARY KEY,
    organisation TEXT NOT NULL,
    batch        BLOB NOT NULL
) STRICT;
