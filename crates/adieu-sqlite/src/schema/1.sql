-- Append-only: no unique key and no secondary index, so that a revocation costs one write at the end of one tree.
-- The index in memory takes duplicates as one. A position must never be given twice: SQLite gives the greatest plus one,
-- and the last entry is never pruned. (AUTOINCREMENT would do the same for a second write with every row.)
CREATE TABLE revocation (
    position     INTEGER PRIMARY KEY,
    kind         INTEGER NOT NULL,
    issuer       TEXT NOT NULL,
    id           TEXT NOT NULL,
    -- exp of a token where it is known, the last revoked iat of a subject or of everything.
    moment       BIGINT,
    lapses_at    BIGINT NOT NULL
);

CREATE TABLE revocation_log_state (
    log_id         TEXT NOT NULL,
    pruned_through BIGINT NOT NULL,
    -- Goes up when it is tried whether the file can be written again.
    probes         BIGINT NOT NULL DEFAULT 0
);

-- In the order of subjects, and no second index: to end a session changes one page. Whoever has a token knows both.
CREATE TABLE session (
    subject             TEXT NOT NULL,
    id                  TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    last_seen_at        BIGINT NOT NULL,
    address             TEXT,
    user_agent          TEXT,
    refresh_id          TEXT NOT NULL,
    previous_refresh_id TEXT,
    refreshed_at        BIGINT NOT NULL,
    -- exp of the refresh token, which is also when an idle session ends.
    refresh_expires_at  BIGINT NOT NULL,
    -- The absolute end.
    expires_at          BIGINT NOT NULL,
    -- The latest exp of any of its access tokens: until then its revocation must be kept.
    access_expires_at   BIGINT NOT NULL,
    PRIMARY KEY (subject, id)
) WITHOUT ROWID;

CREATE TABLE signing_key (
    id          TEXT PRIMARY KEY,
    algorithm   TEXT NOT NULL,
    private_key BLOB NOT NULL,
    created_at  BIGINT NOT NULL
) WITHOUT ROWID;

-- The tables that applications keep in this file, and the version of each.
CREATE TABLE component (
    name    TEXT PRIMARY KEY,
    version BIGINT NOT NULL
) WITHOUT ROWID;
