-- How far the inbox of samples went, whatever rows are left of it: one row for the whole store. `turn` counts, so that writing it always changes a page.

CREATE TABLE sample_sealed (
    organisation TEXT NOT NULL,
    upto         INTEGER NOT NULL,
    turn         INTEGER NOT NULL
) STRICT;
INSERT INTO sample_sealed SELECT '', coalesce(max(row_no), 0), 0 FROM sample_inbox;
