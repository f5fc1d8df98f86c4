-- How far each base branch was looked at.
CREATE TABLE branches (
    repo_id BIGINT NOT NULL,
    branch  TEXT COLLATE "C" NOT NULL,
    sha     TEXT COLLATE "C" NOT NULL, -- the last commit
    first   TEXT COLLATE "C" NOT NULL, -- the first one
    looked  BIGINT NOT NULL,
    PRIMARY KEY (repo_id, branch)
);

-- Commits of a base branch that came without the gate.
CREATE TABLE bypasses (
    repo_id BIGINT NOT NULL,
    branch  TEXT COLLATE "C" NOT NULL,
    sha     TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    actor   TEXT COLLATE "C" NOT NULL,
    number  BIGINT NOT NULL, -- of the pull, 0 for none
    lost    TEXT COLLATE "C" NOT NULL, -- tip that a rewrite threw away
    subject TEXT COLLATE "C" NOT NULL,
    files   TEXT COLLATE "C" NOT NULL,
    targets TEXT COLLATE "C" NOT NULL, -- that it is not settled for
    since   BIGINT NOT NULL,
    found   BIGINT NOT NULL,
    place   BIGINT NOT NULL, -- order among those found at once
    issue   BIGINT NOT NULL DEFAULT 0,
    settled BIGINT NOT NULL DEFAULT 0,
    how     TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (repo_id, branch, sha)
);
CREATE INDEX bypasses_open ON bypasses (repo_id, branch, found) WHERE settled = 0;

-- Reviews that overrides owe.
CREATE TABLE duties (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    repo_id     BIGINT NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    number      BIGINT NOT NULL,
    actor       TEXT COLLATE "C" NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    comment_id  BIGINT NOT NULL,
    opened      BIGINT NOT NULL,
    due         BIGINT NOT NULL,
    closed      BIGINT NOT NULL DEFAULT 0,
    closed_by   TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX duties_open ON duties (repo_id, opened) WHERE closed = 0;
