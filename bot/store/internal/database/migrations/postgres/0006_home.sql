-- The forge that all numbers of repositories, pulls and accounts are of: at most
-- one row.
CREATE TABLE home (
    forge TEXT COLLATE "C" NOT NULL PRIMARY KEY
);
