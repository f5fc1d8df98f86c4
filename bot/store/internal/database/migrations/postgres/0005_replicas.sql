-- Runs of a key are numbered, so that what an older run writes can be told
-- apart. cause is the delivery that wanted the key last.
ALTER TABLE work ADD COLUMN run BIGINT NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN cause TEXT COLLATE "C" NOT NULL DEFAULT '';

-- Processes that run jobs on a shared database.
CREATE TABLE replicas (
    name    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    started BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    version TEXT COLLATE "C" NOT NULL
);
