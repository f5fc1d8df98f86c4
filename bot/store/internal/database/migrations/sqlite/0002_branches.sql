-- How far each base branch was looked at.
CREATE TABLE branches (
    repo_id INTEGER NOT NULL,
    branch  TEXT    NOT NULL,
    sha     TEXT    NOT NULL, -- the last commit
    first   TEXT    NOT NULL, -- the first one
    looked  INTEGER NOT NULL,
    PRIMARY KEY (repo_id, branch)
) STRICT;

-- Commits of a base branch that came without the gate.
CREATE TABLE bypasses (
    repo_id INTEGER NOT NULL,
    branch  TEXT    NOT NULL,
    sha     TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    number  INTEGER NOT NULL, -- of the pull, 0 for none
    lost    TEXT    NOT NULL, -- tip that a rewrite threw away
    subject TEXT    NOT NULL,
    files   TEXT    NOT NULL,
    targets TEXT    NOT NULL, -- that it is not settled for
    since   INTEGER NOT NULL,
    found   INTEGER NOT NULL,
    place   INTEGER NOT NULL, -- order among those found at once
    issue   INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0,
    how     TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (repo_id, branch, sha)
) STRICT;
CREATE INDEX bypasses_open ON bypasses (repo_id, branch, found) WHERE settled = 0;

-- Reviews that overrides owe.
CREATE TABLE duties (
    id          TEXT    NOT NULL PRIMARY KEY,
    repo_id     INTEGER NOT NULL,
    environment TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    comment_id  INTEGER NOT NULL,
    opened      INTEGER NOT NULL,
    due         INTEGER NOT NULL,
    closed      INTEGER NOT NULL DEFAULT 0,
    closed_by   TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX duties_open ON duties (repo_id, opened) WHERE closed = 0;
