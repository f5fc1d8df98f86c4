-- Targets whose live objects are not as they were applied: a row goes away
-- with its drift.
CREATE TABLE drifts (
    repo_id INTEGER NOT NULL,
    cluster TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    number  INTEGER NOT NULL, -- of its pull, 0 for none
    since   INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    PRIMARY KEY (repo_id, cluster, target)
) STRICT;
CREATE INDEX drifts_pull ON drifts (repo_id, number) WHERE number > 0;

-- When a target was put back by itself, and which fields.
CREATE TABLE heals (
    repo_id INTEGER NOT NULL,
    cluster TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    outcome TEXT    NOT NULL,
    fields  TEXT    NOT NULL,
    PRIMARY KEY (repo_id, cluster, target, at)
) STRICT;

-- What is known of each cluster as a whole.
CREATE TABLE watches (
    cluster TEXT    NOT NULL PRIMARY KEY,
    checked INTEGER NOT NULL, -- the last check of everything
    looked  INTEGER NOT NULL, -- the last look
    unknown TEXT    NOT NULL, -- what could not be looked at, and since when
    mass    INTEGER NOT NULL, -- when many changes at once began, 0 for none
    issues  TEXT    NOT NULL  -- that tell of them, by repository
) STRICT;
