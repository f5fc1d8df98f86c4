-- Targets whose live objects are not as they were applied: a row goes away
-- with its drift.
CREATE TABLE drifts (
    repo_id BIGINT NOT NULL,
    cluster TEXT COLLATE "C" NOT NULL,
    target  TEXT COLLATE "C" NOT NULL,
    number  BIGINT NOT NULL, -- of its pull, 0 for none
    since   BIGINT NOT NULL,
    doc     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (repo_id, cluster, target)
);
CREATE INDEX drifts_pull ON drifts (repo_id, number) WHERE number > 0;

-- When a target was put back by itself, and which fields.
CREATE TABLE heals (
    repo_id BIGINT NOT NULL,
    cluster TEXT COLLATE "C" NOT NULL,
    target  TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    fields  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (repo_id, cluster, target, at)
);

-- What is known of each cluster as a whole.
CREATE TABLE watches (
    cluster TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    checked BIGINT NOT NULL, -- the last check of everything
    looked  BIGINT NOT NULL, -- the last look
    unknown TEXT COLLATE "C" NOT NULL, -- what could not be looked at, and since when
    mass    BIGINT NOT NULL, -- when many changes at once began, 0 for none
    issues  TEXT COLLATE "C" NOT NULL  -- that tell of them, by repository
);
