-- Applies what a node has decided in memory, if all that the decision rests on is unchanged. Takes the lock of the writers first, so that
-- nothing changes any more; each statement after that sees everything that was committed before. The arguments:
--  * the mark of the connection: see the module `connections`;
--  * the log as the node has last seen it: its identity, its last position and how far it was pruned, and an entry with its position
--    (NULL: not compared);
--  * the keys of the sessions that were read, with their versions (NULL: there was no such session);
--  * the keys of the sessions to remove;
--  * the sessions to write, one array a column;
--  * the position after which the new entries come at the earliest, and the entries, one array a column.
-- The outcome: 'applied'; 'changed' if a session has changed; 'unlike' if the log is unlike the one last seen; 'pooled' if the
-- connection has another mark. Only 'applied' has written
-- anything. The other columns are the state of the log before.
CREATE FUNCTION adieu.apply(
    mark TEXT,
    seen_log TEXT, seen_head BIGINT, seen_pruned_through BIGINT,
    seen_position BIGINT, seen_kind BIGINT, seen_issuer TEXT, seen_id TEXT, seen_moment BIGINT, seen_lapses_at BIGINT,
    read_subject TEXT[], read_id TEXT[], read_version TEXT[],
    removed_subject TEXT[], removed_id TEXT[],
    put_id TEXT[], put_subject TEXT[], put_created_at BIGINT[], put_last_seen_at BIGINT[], put_address TEXT[], put_user_agent TEXT[],
    put_refresh_id TEXT[], put_previous_refresh_id TEXT[], put_refreshed_at BIGINT[], put_refresh_expires_at BIGINT[],
    put_expires_at BIGINT[], put_access_expires_at BIGINT[], put_used_refresh_id TEXT[], put_used_at BIGINT[],
    after_position BIGINT,
    new_kind BIGINT[], new_issuer TEXT[], new_id TEXT[], new_moment BIGINT[], new_lapses_at BIGINT[],
    OUT outcome TEXT, OUT head BIGINT, OUT log TEXT, OUT pruned_through BIGINT, OUT lineage TEXT
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('adieu.connection', true) IS DISTINCT FROM mark THEN
        outcome := 'pooled';
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(418380178805);
    IF cardinality(new_kind) > 0 THEN
        SELECT state.log_id, state.pruned_through,
            state.log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('adieu.revocation'),
            coalesce((SELECT max(position) FROM adieu.revocation), 0)
            INTO log, pruned_through, lineage, head FROM adieu.revocation_log_state AS state;
        IF log <> seen_log OR head < seen_head OR pruned_through < seen_pruned_through OR (seen_kind IS NOT NULL AND NOT EXISTS (
            SELECT FROM adieu.revocation WHERE position = seen_position AND kind = seen_kind AND issuer = seen_issuer AND id = seen_id
            AND moment IS NOT DISTINCT FROM seen_moment AND lapses_at = seen_lapses_at)) THEN
            outcome := 'unlike';
            RETURN;
        END IF;
    END IF;
    IF cardinality(read_id) > 0 AND EXISTS (
        SELECT FROM unnest(read_subject, read_id, read_version) AS read (subject, id, version) LEFT JOIN LATERAL (
            SELECT session.xmin::text AS version FROM adieu.session
            WHERE session.subject = read.subject AND session.id = read.id OFFSET 0
        ) AS found ON true WHERE found.version IS DISTINCT FROM read.version) THEN
        outcome := 'changed';
        RETURN;
    END IF;
    IF cardinality(removed_id) > 0 THEN
        DELETE FROM adieu.session WHERE ctid = ANY(ARRAY(SELECT found.ctid
            FROM unnest(removed_subject, removed_id) AS removed (subject, id), LATERAL (
                SELECT session.ctid FROM adieu.session
                WHERE session.subject = removed.subject AND session.id = removed.id OFFSET 0) AS found));
    END IF;
    IF cardinality(put_id) > 0 THEN
        INSERT INTO adieu.session (id, subject, created_at, last_seen_at, address, user_agent, refresh_id, previous_refresh_id,
            refreshed_at, refresh_expires_at, expires_at, access_expires_at, used_refresh_id, used_at)
        SELECT * FROM unnest(put_id, put_subject, put_created_at, put_last_seen_at, put_address, put_user_agent, put_refresh_id,
            put_previous_refresh_id, put_refreshed_at, put_refresh_expires_at, put_expires_at, put_access_expires_at,
            put_used_refresh_id, put_used_at)
        ON CONFLICT (subject, id) DO UPDATE SET last_seen_at = excluded.last_seen_at, refresh_id = excluded.refresh_id,
            previous_refresh_id = excluded.previous_refresh_id, refreshed_at = excluded.refreshed_at,
            refresh_expires_at = excluded.refresh_expires_at, access_expires_at = excluded.access_expires_at,
            used_refresh_id = excluded.used_refresh_id, used_at = excluded.used_at;
    END IF;
    IF cardinality(new_kind) > 0 THEN
        head := greatest(head, after_position);
        INSERT INTO adieu.revocation (position, kind, issuer, id, moment, lapses_at)
        SELECT head + new.number, new.kind, new.issuer, new.id, new.moment, new.lapses_at
        FROM unnest(new_kind, new_issuer, new_id, new_moment, new_lapses_at)
            WITH ORDINALITY AS new (kind, issuer, id, moment, lapses_at, number);
    END IF;
    outcome := 'applied';
END
$$;
