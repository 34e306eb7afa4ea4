-- From when on new tokens are signed with a key: the first ones, of before there was this column, always did.
ALTER TABLE signing_key ADD COLUMN signs_from BIGINT NOT NULL DEFAULT 0;

-- When it was noticed that a backup had been put back, until that is accepted.
ALTER TABLE revocation_log_state ADD COLUMN restored_at BIGINT;
