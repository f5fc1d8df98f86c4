-- Text sorts by its bytes, as it does on SQLite and in Go.
-- Times are microseconds since 1970 in UTC; 0 stands for "none".
-- JSON documents are TEXT, plan bodies BYTEA.

CREATE TABLE deliveries (
    forge    TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    event    TEXT COLLATE "C" NOT NULL,
    repo_id  BIGINT NOT NULL,
    repo     TEXT COLLATE "C" NOT NULL,
    number   BIGINT NOT NULL,
    received BIGINT NOT NULL,
    PRIMARY KEY (forge, id)
);
CREATE INDEX deliveries_received ON deliveries (received);

-- One row per key that was ever wanted. wanted counts requests; done is the
-- value wanted had when the last successful run began.
CREATE TABLE work (
    key        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    wanted     BIGINT NOT NULL DEFAULT 0,
    done       BIGINT NOT NULL DEFAULT 0,
    failures   BIGINT NOT NULL DEFAULT 0, -- in a row
    not_before BIGINT NOT NULL DEFAULT 0, -- no run before this
    due        BIGINT NOT NULL DEFAULT 0, -- a job has to be queued at this time
    again      BIGINT NOT NULL DEFAULT 0  -- wanted once more at this time
);
CREATE INDEX work_due ON work (due) WHERE due > 0;
CREATE INDEX work_again ON work (again) WHERE again > 0;
CREATE INDEX work_waiting ON work (key) WHERE wanted > done;

CREATE TABLE pulls (
    repo_id BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    version BIGINT NOT NULL,
    doc     TEXT COLLATE "C" NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (repo_id, number)
);

CREATE TABLE plans (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    head    TEXT COLLATE "C" NOT NULL,
    digest  TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    saved   BIGINT NOT NULL, -- order of saving within the pull
    body    BYTEA    NOT NULL
);
CREATE INDEX plans_pull ON plans (repo_id, number, saved);

CREATE TABLE commands (
    source     TEXT COLLATE "C" NOT NULL,
    comment_id BIGINT NOT NULL,
    idx        BIGINT NOT NULL,
    repo_id    BIGINT NOT NULL,
    number     BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    args       TEXT COLLATE "C" NOT NULL,
    actor      TEXT COLLATE "C" NOT NULL,
    head       TEXT COLLATE "C" NOT NULL,
    claimed    BIGINT NOT NULL,
    finished   BIGINT NOT NULL DEFAULT 0,
    outcome    TEXT COLLATE "C" NOT NULL DEFAULT '',
    detail     TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (source, comment_id, idx)
);
CREATE INDEX commands_pull ON commands (repo_id, number, claimed);

-- A released lease keeps its row, so that its token never goes back.
CREATE TABLE leases (
    key      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder   TEXT COLLATE "C" NOT NULL, -- '' when free
    purpose  TEXT COLLATE "C" NOT NULL,
    token    BIGINT NOT NULL,
    acquired BIGINT NOT NULL,
    expires  BIGINT NOT NULL  -- 0: until released
);

CREATE TABLE operations (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind        TEXT COLLATE "C" NOT NULL,
    repo_id     BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    targets     TEXT COLLATE "C" NOT NULL,
    head        TEXT COLLATE "C" NOT NULL,
    plan_digest TEXT COLLATE "C" NOT NULL,
    comment_id  BIGINT NOT NULL,
    actor       TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    started     BIGINT NOT NULL,
    updated     BIGINT NOT NULL,
    finished    BIGINT NOT NULL DEFAULT 0,
    detail      TEXT COLLATE "C" NOT NULL
);
CREATE INDEX operations_pull ON operations (repo_id, number, started);
CREATE INDEX operations_running ON operations (started) WHERE state = 'running';

-- body is the whole record as bot/audit wrote it; the other columns find it.
CREATE TABLE records (
    seq     BIGINT NOT NULL PRIMARY KEY,
    hash    TEXT COLLATE "C" NOT NULL,
    time    BIGINT NOT NULL,
    repo_id BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    body    TEXT COLLATE "C" NOT NULL
);
CREATE INDEX records_pull ON records (repo_id, number, seq);
