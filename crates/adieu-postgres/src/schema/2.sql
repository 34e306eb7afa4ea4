-- The refresh token before the previous one, and when it was used.
ALTER TABLE session ADD COLUMN used_refresh_id TEXT COLLATE "C", ADD COLUMN used_at BIGINT;
