-- The past of tags with `history = true`. A value that fits 64 bits stands in `bits`, any other as JSON in `text`; `kind` says what
-- it is, numbered as in the program. Times as in the journal; no two values of a tag have the same time of receipt.
CREATE TABLE history_tag (
    id   INTEGER PRIMARY KEY NOT NULL,
    path TEXT NOT NULL UNIQUE
);

CREATE TABLE history (
    tag      INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    status   INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    bits     INTEGER NOT NULL,
    text     TEXT,
    PRIMARY KEY (tag, time, received)
) WITHOUT ROWID;
