-- Append-only, in the order of positions, which are given under a lock: see the module `log`. The index in memory takes
-- duplicates as one. The last entry is never pruned, so that a position is never given twice.
CREATE TABLE revocation (
    position     BIGINT PRIMARY KEY,
    kind         BIGINT NOT NULL,
    issuer       TEXT COLLATE "C" NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    -- exp of a token where it is known, the last revoked iat of a subject or of everything.
    moment       BIGINT,
    lapses_at    BIGINT NOT NULL
);

CREATE TABLE revocation_log_state (
    is_the_only    BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_the_only),
    log_id         TEXT COLLATE "C" NOT NULL,
    pruned_through BIGINT NOT NULL,
    -- Goes up when it is tried whether the database can be written again.
    probes         BIGINT NOT NULL DEFAULT 0,
    -- When it was noticed that a backup had been put back, until that is accepted.
    restored_at    BIGINT
);

-- In the order of subjects, and no second index: whoever has a token knows both. Room is left in the pages, so that a
-- refresh rewrites a row where it is.
CREATE TABLE session (
    subject             TEXT COLLATE "C" NOT NULL,
    id                  TEXT COLLATE "C" NOT NULL,
    created_at          BIGINT NOT NULL,
    last_seen_at        BIGINT NOT NULL,
    address             TEXT COLLATE "C",
    user_agent          TEXT COLLATE "C",
    refresh_id          TEXT COLLATE "C" NOT NULL,
    previous_refresh_id TEXT COLLATE "C",
    refreshed_at        BIGINT NOT NULL,
    -- exp of the refresh token, which is also when an idle session ends.
    refresh_expires_at  BIGINT NOT NULL,
    -- The absolute end.
    expires_at          BIGINT NOT NULL,
    -- The latest exp of any of its access tokens: until then its revocation must be kept.
    access_expires_at   BIGINT NOT NULL,
    PRIMARY KEY (subject, id)
) WITH (fillfactor = 80);

CREATE TABLE signing_key (
    id          TEXT COLLATE "C" PRIMARY KEY,
    algorithm   TEXT COLLATE "C" NOT NULL,
    private_key BYTEA NOT NULL,
    created_at  BIGINT NOT NULL,
    -- From when on new tokens are signed with it.
    signs_from  BIGINT NOT NULL
);

-- The nodes that are at work, and how far each has got.
CREATE TABLE member (
    node          TEXT COLLATE "C" PRIMARY KEY,
    beat          BIGINT NOT NULL,
    log_id        TEXT COLLATE "C",
    settled       BIGINT,
    followers     BIGINT NOT NULL,
    unbounded     BIGINT NOT NULL,
    -- Milliseconds.
    max_staleness BIGINT NOT NULL
) WITH (fillfactor = 50);
