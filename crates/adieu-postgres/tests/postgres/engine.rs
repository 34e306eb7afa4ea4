//! The engine in the suite, and the fixtures of the other tests here.

use adieu_conformance::{Storage, suite};
use adieu_postgres::{
    Postgres,
    sqlx::{self, AssertSqlSafe, Connection, PgConnection},
};
use tokio::sync::Mutex;

suite!(postgres: InDatabase, log, sessions, keys, membership);

/// A separate database.
pub(crate) struct InDatabase(pub(crate) String);

impl Storage for InDatabase {
    type Store = Postgres;

    async fn empty() -> Self {
        Self(test_servers::postgres_database().await)
    }

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.0).await.unwrap()
    }
}

/// A separate server, which can be killed.
struct OnItsServer(Mutex<test_servers::Postgres>);

impl Storage for OnItsServer {
    type Store = Postgres;

    async fn empty() -> Self {
        Self(Mutex::new(test_servers::Postgres::start().await))
    }

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.0.lock().await.url()).await.unwrap()
    }

    async fn crash(&self) {
        let mut server = self.0.lock().await;
        server.kill();
        server.start_again().await;
    }
}

/// The tests of the suite in which the server crashes; the others would only take longer.
macro_rules! in_a_crash {
    ($($part:ident::$test:ident)*) => {
        mod in_a_crash {
            $(
                #[test]
                fn $test() {
                    adieu_conformance::run(adieu_conformance::$part::$test::<super::OnItsServer>());
                }
            )*
        }
    };
}

in_a_crash! {
    log::what_was_acknowledged_is_there_after_a_crash
    log::a_cursor_from_before_a_crash_reads_on
    log::what_is_forgotten_is_marked
    log::a_position_is_never_given_twice
    sessions::they_are_there_after_a_restart
    sessions::several_endings_in_a_crash_are_one_step
    keys::keys_are_there_after_a_restart
}

/// Runs statements on a database without the engine's knowledge.
pub(crate) async fn behind_its_back(url: &str, statements: &str) {
    connected(url).await.execute(statements).await;
}

pub(crate) async fn connected(url: &str) -> Other {
    Other(PgConnection::connect(url).await.unwrap())
}

/// Another client connected to the same database.
pub(crate) struct Other(pub(crate) PgConnection);

impl Other {
    pub(crate) async fn execute(&mut self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.0).await.unwrap();
    }

    pub(crate) async fn number(&mut self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).persistent(false).fetch_one(&mut self.0).await.unwrap()
    }
}
