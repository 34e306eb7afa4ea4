//! The requirements that a server must meet before it is used as a store.

use sqlx::{PgConnection, Row, postgres::PgRow};

/// The oldest version whose guarantees were checked: it has `unnest` of several arrays and `tcp_user_timeout`, and is
/// still maintained.
const OLDEST: i32 = 130_000;

/// How much acknowledged data may be lost if the server's machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// None.
    Full,
    /// As much as the server's settings allow.
    AsTheServerHasIt,
}

/// A server, as it describes itself on one connection.
#[derive(Debug, Clone)]
pub(super) struct Server {
    name: String,
    version: i32,
    is_standby: bool,
    encoding: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
}

impl Server {
    pub(super) async fn ask(connection: &mut PgConnection) -> sqlx::Result<Self> {
        const ASK: &str = "SELECT version(), current_setting('server_version_num')::integer, pg_is_in_recovery(), \
                           current_setting('server_encoding'), current_setting('fsync'), \
                           current_setting('full_page_writes'), current_setting('synchronous_commit')";
        // The simple protocol, since this runs once per connection.
        let row: PgRow = sqlx::raw_sql(ASK).fetch_one(connection).await?;
        Ok(Self {
            name: row.try_get(0)?,
            version: row.try_get(1)?,
            is_standby: row.try_get(2)?,
            encoding: row.try_get(3)?,
            fsync: row.try_get(4)?,
            full_page_writes: row.try_get(5)?,
            synchronous_commit: row.try_get(6)?,
        })
    }

    /// Returns why the server cannot be used as a store, as a sentence for its operator.
    pub(super) fn refusal(&self, durability: Durability) -> Option<String> {
        // Other databases speak the protocol, but their advisory locks do not lock, or not on every node.
        if !self.name.starts_with("PostgreSQL ") || self.name.contains("-YB-") {
            return Some(format!("is not PostgreSQL but {}", self.name));
        }
        if self.version < OLDEST {
            return Some(format!("is {}, and at least version 13 is needed", self.name));
        }
        if self.is_standby {
            return Some("is a standby, which can't be written: name the primary".to_owned());
        }
        if self.encoding != "UTF8" {
            return Some(format!("keeps this database in the encoding {}, and it must be UTF8", self.encoding));
        }
        if durability == Durability::AsTheServerHasIt {
            return None;
        }
        let off = [("fsync", &self.fsync), ("full_page_writes", &self.full_page_writes)];
        let off = off.into_iter().find(|(_, value)| *value != "on");
        off.map(|(name, value)| {
            format!(
                "has {name} = {value} and may lose a logout that was answered: turn it on, or allow weaker durability \
                 by name"
            )
        })
    }

    /// Returns whether the server acknowledges a commit before it is on disk, unless configured otherwise.
    pub(super) fn answers_too_early(&self) -> bool {
        self.synchronous_commit == "off"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Durability, Server};

    fn server() -> Server {
        Server {
            name: "PostgreSQL 15.1 on x86_64".to_owned(),
            version: 150_001,
            is_standby: false,
            encoding: "UTF8".to_owned(),
            fsync: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
        }
    }

    #[test]
    fn a_server_is_refused_for_what_would_break_a_promise() {
        let refused = |server: Server, durability, part: &str| {
            let refusal = server.refusal(durability).unwrap();
            assert!(refusal.contains(part), "{refusal}");
        };
        for durability in [Durability::Full, Durability::AsTheServerHasIt] {
            assert_eq!(server().refusal(durability), None);
            refused(Server { name: "CockroachDB CCL v24".to_owned(), ..server() }, durability, "not PostgreSQL");
            refused(Server { name: "PostgreSQL 11.2-YB-2.1".to_owned(), ..server() }, durability, "not PostgreSQL");
            refused(Server { version: 120_099, ..server() }, durability, "version 13");
            refused(Server { is_standby: true, ..server() }, durability, "primary");
            refused(Server { encoding: "LATIN1".to_owned(), ..server() }, durability, "LATIN1");
        }
        for weak in
            [Server { fsync: "off".to_owned(), ..server() }, Server { full_page_writes: "off".to_owned(), ..server() }]
        {
            assert_eq!(weak.refusal(Durability::AsTheServerHasIt), None);
            refused(weak, Durability::Full, "may lose a logout");
        }
        assert!(Server { synchronous_commit: "off".to_owned(), ..server() }.answers_too_early());
    }
}
