-- What targets were applied as, with approval and well: the states that a
-- rollback may come back to.
CREATE TABLE applied_renders (
    repo_id  INTEGER NOT NULL,
    cluster  TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    render   TEXT    NOT NULL, -- digest of the rendered objects
    revision TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (repo_id, cluster, target, render)
) STRICT;
CREATE INDEX applied_renders_at ON applied_renders (repo_id, cluster, target, at);
