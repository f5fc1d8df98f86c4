-- Times are microseconds since 1970 in UTC; 0 stands for "none".
-- JSON documents are TEXT, plan bodies BLOB.

CREATE TABLE deliveries (
    forge    TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    event    TEXT    NOT NULL,
    repo_id  INTEGER NOT NULL,
    repo     TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (forge, id)
) STRICT;
CREATE INDEX deliveries_received ON deliveries (received);

-- One row per key that was ever wanted. wanted counts requests; done is the
-- value wanted had when the last successful run began.
CREATE TABLE work (
    key        TEXT    NOT NULL PRIMARY KEY,
    wanted     INTEGER NOT NULL DEFAULT 0,
    done       INTEGER NOT NULL DEFAULT 0,
    failures   INTEGER NOT NULL DEFAULT 0, -- in a row
    not_before INTEGER NOT NULL DEFAULT 0, -- no run before this
    due        INTEGER NOT NULL DEFAULT 0, -- a job has to be queued at this time
    again      INTEGER NOT NULL DEFAULT 0  -- wanted once more at this time
) STRICT;
CREATE INDEX work_due ON work (due) WHERE due > 0;
CREATE INDEX work_again ON work (again) WHERE again > 0;
CREATE INDEX work_waiting ON work (key) WHERE wanted > done;

CREATE TABLE pulls (
    repo_id INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    version INTEGER NOT NULL,
    doc     TEXT    NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (repo_id, number)
) STRICT;

CREATE TABLE plans (
    id      TEXT    NOT NULL PRIMARY KEY,
    repo_id INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    head    TEXT    NOT NULL,
    digest  TEXT    NOT NULL,
    created INTEGER NOT NULL,
    saved   INTEGER NOT NULL, -- order of saving within the pull
    body    BLOB    NOT NULL
) STRICT;
CREATE INDEX plans_pull ON plans (repo_id, number, saved);

CREATE TABLE commands (
    source     TEXT    NOT NULL,
    comment_id INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    repo_id    INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    args       TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    head       TEXT    NOT NULL,
    claimed    INTEGER NOT NULL,
    finished   INTEGER NOT NULL DEFAULT 0,
    outcome    TEXT    NOT NULL DEFAULT '',
    detail     TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (source, comment_id, idx)
) STRICT;
CREATE INDEX commands_pull ON commands (repo_id, number, claimed);

-- A released lease keeps its row, so that its token never goes back.
CREATE TABLE leases (
    key      TEXT    NOT NULL PRIMARY KEY,
    holder   TEXT    NOT NULL, -- '' when free
    purpose  TEXT    NOT NULL,
    token    INTEGER NOT NULL,
    acquired INTEGER NOT NULL,
    expires  INTEGER NOT NULL  -- 0: until released
) STRICT;

CREATE TABLE operations (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    repo_id     INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    targets     TEXT    NOT NULL,
    head        TEXT    NOT NULL,
    plan_digest TEXT    NOT NULL,
    comment_id  INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    started     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    finished    INTEGER NOT NULL DEFAULT 0,
    detail      TEXT    NOT NULL
) STRICT;
CREATE INDEX operations_pull ON operations (repo_id, number, started);
CREATE INDEX operations_running ON operations (started) WHERE state = 'running';

-- body is the whole record as bot/audit wrote it; the other columns find it.
CREATE TABLE records (
    seq     INTEGER NOT NULL PRIMARY KEY,
    hash    TEXT    NOT NULL,
    time    INTEGER NOT NULL,
    repo_id INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT;
CREATE INDEX records_pull ON records (repo_id, number, seq);
