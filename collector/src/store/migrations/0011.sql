-- Which agent's machine an agent was cloned from: who revokes the one is told of the other.

CREATE TABLE agent_clone (
    organisation TEXT NOT NULL,
    agent        BLOB NOT NULL,
    original     BLOB NOT NULL,
    PRIMARY KEY (organisation, agent)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_clone_of ON agent_clone (organisation, original);
