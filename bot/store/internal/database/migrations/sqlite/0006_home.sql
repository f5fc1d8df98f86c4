-- The forge that all numbers of repositories, pulls and accounts are of: at most
-- one row.
CREATE TABLE home (
    forge TEXT NOT NULL PRIMARY KEY
) STRICT;
