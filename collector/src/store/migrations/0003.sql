-- How far an agent's reports are usually apart: its plan may send them once an hour.

ALTER TABLE agent ADD COLUMN usual_gap_ms INTEGER NOT NULL DEFAULT 0;
