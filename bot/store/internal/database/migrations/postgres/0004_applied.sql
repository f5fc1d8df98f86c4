-- What targets were applied as, with approval and well: the states that a
-- rollback may come back to.
CREATE TABLE applied_renders (
    repo_id  BIGINT NOT NULL,
    cluster  TEXT COLLATE "C" NOT NULL,
    target   TEXT COLLATE "C" NOT NULL,
    render   TEXT COLLATE "C" NOT NULL, -- digest of the rendered objects
    revision TEXT COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (repo_id, cluster, target, render)
);
CREATE INDEX applied_renders_at ON applied_renders (repo_id, cluster, target, at);
