-- The engine's state: one table a kind, each a key and a JSON value that only the engine reads.
CREATE TABLE alarm    (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE run      (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE outbox   (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE counter  (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE cooldown (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE contact  (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE code     (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE engine   (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE retained (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE app_user (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE inbound  (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);

-- Times are 100 ns ticks since 1601-01-01 UTC, as in the program. Ids are never reused: pages are cut by them.
CREATE TABLE journal (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    alarm    TEXT NOT NULL,
    event    TEXT,
    kind     TEXT NOT NULL,
    priority TEXT NOT NULL,
    value    TEXT NOT NULL,
    user     TEXT NOT NULL,
    via      TEXT,
    text     TEXT NOT NULL,
    data     TEXT NOT NULL
);
CREATE INDEX journal_time ON journal (time);
CREATE INDEX journal_alarm ON journal (alarm, id);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    user    TEXT NOT NULL,
    via     TEXT NOT NULL,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL,
    result  TEXT NOT NULL,
    events  TEXT NOT NULL,
    sid     TEXT
);
CREATE INDEX audit_time ON audit (time);

CREATE TABLE ledger (
    sid       TEXT NOT NULL,
    direction TEXT NOT NULL,
    time      INTEGER NOT NULL,
    channel   TEXT NOT NULL,
    user      TEXT,
    number    TEXT NOT NULL,
    segments  INTEGER NOT NULL,
    minutes   INTEGER NOT NULL,
    outbox    INTEGER,
    PRIMARY KEY (sid, direction)
) WITHOUT ROWID;
CREATE INDEX ledger_time ON ledger (time);
