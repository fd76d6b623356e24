-- Calls in progress, what was sent to whom lately, overrides of who is on call, and recipients of application events.
CREATE TABLE call       (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE throttle   (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE override (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
CREATE TABLE traits     (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
