-- Runs of a key are numbered, so that what an older run writes can be told
-- apart. cause is the delivery that wanted the key last.
ALTER TABLE work ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN cause TEXT NOT NULL DEFAULT '';

-- Processes that run jobs on a shared database. SQLite has one, and no rows.
CREATE TABLE replicas (
    name    TEXT    NOT NULL PRIMARY KEY,
    started INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    version TEXT    NOT NULL
) STRICT;
