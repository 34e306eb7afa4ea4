//! The membership of nodes in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;

use super::{
    Postgres, from_text, invalid,
    rows::{from_position, to_position},
    to_text,
};
use adieu::{
    Error,
    revocation::{Cursor, LogId},
    store::{Members, Membership, NodeStatus},
    time::ceil_millis,
};

#[async_trait]
impl Membership for Postgres {
    async fn publish(&self, standing: &NodeStatus) -> Result<LogId, Error> {
        // The update of an existing row need not be on disk, so its commit does not wait for the disk.
        const UPDATE: &str = "WITH unhurried AS (SELECT set_config('synchronous_commit', 'off', true)) \
             UPDATE member SET beat = $2, log_id = $3, settled = $4, followers = $5, unbounded = $6, max_staleness = $7 \
             FROM unhurried WHERE node = $1 \
             RETURNING (SELECT log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' \
             || pg_relation_filenode('revocation') FROM revocation_log_state)";
        const INSERT: &str = "INSERT INTO member (node, beat, log_id, settled, followers, unbounded, max_staleness) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (node) DO NOTHING \
             RETURNING (SELECT log_id || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' \
             || pg_relation_filenode('revocation') FROM revocation_log_state)";
        let (log, position) = match &standing.applied {
            Some(Cursor { log, position }) => (Some(log.as_str()), Some(from_position(*position))),
            None => (None, None),
        };
        for statement in [UPDATE, INSERT] {
            let statement = sqlx::query(statement)
                .bind(to_text(&standing.node))
                .bind(number(standing.heartbeat))
                .bind(log)
                .bind(position)
                .bind(i64::from(standing.followers))
                .bind(i64::from(standing.unbounded))
                .bind(number(ceil_millis(standing.max_staleness)));
            let outcome = self.fetch_optional(statement).await;
            if let Some(row) = self.written(outcome)? {
                let lineage: sqlx::Result<&str> = row.try_get(0);
                return lineage.and_then(|lineage| LogId::new(lineage).map_err(invalid)).map_err(Error::unavailable);
            }
        }
        Err(Error::unavailable("the node was forgotten and is there again"))
    }

    async fn members(&self) -> Result<Members, Error> {
        // Returns the identity of the log even if there is no node.
        const ALL: &str = "SELECT node, beat, member.log_id, settled, followers, unbounded, max_staleness, log.log_id || '-' \
             || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '-' || pg_relation_filenode('revocation') \
             FROM revocation_log_state AS log LEFT JOIN member ON true ORDER BY node";
        let rows = self.fetch_all(sqlx::query(ALL)).await?;
        let member = |row: &sqlx::postgres::PgRow| -> sqlx::Result<NodeStatus> {
            let count = |column: usize| row.try_get::<i64, _>(column);
            let settled = match (row.try_get::<Option<&str>, _>(2)?, row.try_get::<Option<i64>, _>(3)?) {
                (Some(log), Some(position)) => {
                    Some(Cursor { log: LogId::new(log).map_err(invalid)?, position: to_position(position) })
                }
                _ => None,
            };
            Ok(NodeStatus {
                node: from_text(row.try_get(0)?)?.into_owned(),
                heartbeat: u64::try_from(count(1)?).unwrap_or(0),
                applied: settled,
                followers: u32::try_from(count(4)?).unwrap_or(u32::MAX),
                unbounded: u32::try_from(count(5)?).unwrap_or(u32::MAX),
                max_staleness: Duration::from_millis(u64::try_from(count(6)?).unwrap_or(u64::MAX)),
            })
        };
        let read = || -> sqlx::Result<Members> {
            let lineage = rows.first().ok_or_else(|| invalid("a log without a state"))?.try_get(7)?;
            let is_node =
                |row: &&sqlx::postgres::PgRow| matches!(row.try_get::<Option<&str>, _>(0), Ok(Some(_)) | Err(_));
            let nodes = rows.iter().filter(is_node).map(member).collect::<sqlx::Result<_>>()?;
            Ok(Members { lineage: LogId::new(lineage).map_err(invalid)?, nodes })
        };
        read().map_err(Error::unavailable)
    }

    async fn suspect(&self, node: &str, beat: u64) -> Result<(), Error> {
        const SUSPECT: &str = "UPDATE member SET beat = 0 WHERE node = $1 AND beat = $2";
        self.execute(sqlx::query(SUSPECT).bind(to_text(node)).bind(number(beat))).await.map(drop)
    }

    async fn forget(&self, node: &str, beat: u64) -> Result<(), Error> {
        const FORGET: &str = "DELETE FROM member WHERE node = $1 AND beat = $2";
        self.execute(sqlx::query(FORGET).bind(to_text(node)).bind(number(beat))).await.map(drop)
    }
}

fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
