-- The same tables as in SQLite. Every text is ordered and compared byte for byte, as there, and `lower` knows ASCII only.
CREATE TABLE alarm      (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE run        (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE outbox     (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE counter    (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE cooldown   (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE contact    (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE code       (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE engine     (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE retained   (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE app_user   (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE inbound    (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE call       (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE throttle   (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE override   (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE traits     (key TEXT COLLATE "C" PRIMARY KEY, value TEXT NOT NULL);

-- Times are 100 ns ticks since 1601-01-01 UTC, as in the program. Ids are never reused: pages are cut by them.
CREATE TABLE journal (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time     BIGINT NOT NULL,
    alarm    TEXT COLLATE "C" NOT NULL,
    event    TEXT COLLATE "C",
    kind     TEXT COLLATE "C" NOT NULL,
    priority TEXT COLLATE "C" NOT NULL,
    value    TEXT COLLATE "C" NOT NULL,
    "user"   TEXT COLLATE "C" NOT NULL,
    via      TEXT COLLATE "C",
    text     TEXT COLLATE "C" NOT NULL,
    data     TEXT NOT NULL
);
CREATE INDEX journal_time ON journal (time);
CREATE INDEX journal_alarm ON journal (alarm, id);

CREATE TABLE audit (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time    BIGINT NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    "user"  TEXT COLLATE "C" NOT NULL,
    via     TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    text    TEXT COLLATE "C" NOT NULL,
    result  TEXT COLLATE "C" NOT NULL,
    events  TEXT COLLATE "C" NOT NULL,
    sid     TEXT COLLATE "C"
);
CREATE INDEX audit_time ON audit (time);

CREATE TABLE ledger (
    sid       TEXT COLLATE "C" NOT NULL,
    direction TEXT COLLATE "C" NOT NULL,
    time      BIGINT NOT NULL,
    channel   TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C",
    number    TEXT COLLATE "C" NOT NULL,
    segments  BIGINT NOT NULL,
    minutes   BIGINT NOT NULL,
    outbox    BIGINT,
    PRIMARY KEY (sid, direction)
);
CREATE INDEX ledger_time ON ledger (time, sid, direction);

CREATE TABLE history_tag (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path TEXT COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE history (
    tag      BIGINT NOT NULL,
    time     BIGINT NOT NULL,
    received BIGINT NOT NULL,
    status   BIGINT NOT NULL,
    kind     BIGINT NOT NULL,
    bits     BIGINT NOT NULL,
    text     TEXT,
    PRIMARY KEY (tag, time, received)
);

-- What instances share one database by. The one row of `commits` is the last commit and the lease: `number` grows with every commit,
-- `epoch` whenever another instance becomes the active one, and both are checked by every commit. Times are this server's own.
CREATE TABLE commits (
    one     BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    number  BIGINT NOT NULL,
    epoch   BIGINT NOT NULL,
    holder  TEXT COLLATE "C",
    renewed TIMESTAMPTZ NOT NULL
);
INSERT INTO commits (number, epoch, renewed) VALUES (0, 0, clock_timestamp());

-- Instances, by the random id of their process.
CREATE TABLE member (
    id       TEXT COLLATE "C" PRIMARY KEY,
    uri      TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    version  TEXT COLLATE "C" NOT NULL,
    ready    BOOLEAN NOT NULL,
    seen     TIMESTAMPTZ NOT NULL
);

-- Inputs that instances which stand by hand to the active one.
CREATE TABLE handed (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time   TIMESTAMPTZ NOT NULL,
    input  TEXT NOT NULL,
    taken  TIMESTAMPTZ,
    answer TEXT
);
CREATE INDEX handed_waiting ON handed (id) WHERE taken IS NULL;
CREATE INDEX handed_time ON handed (time);
