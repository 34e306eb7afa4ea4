//! Places on a server that many tests share.

use tokio::sync::OnceCell;

use crate::{Postgres, Redis, postgres::create_database};

/// The variable with the superuser's URL of the PostgreSQL server that tests share.
pub const POSTGRES_URL: &str = "ADIEU_TEST_POSTGRES_URL";
/// The variable with the URL of the Redis server that tests share.
pub const REDIS_URL: &str = "ADIEU_TEST_REDIS_URL";

/// Returns the URL of a new, empty database on the server that [`POSTGRES_URL`] names, or else on one that this process
/// shares and that ends with it. The database is not removed.
///
/// # Panics
/// If there is no server, or it cannot create the database.
pub async fn postgres_database() -> String {
    static OWN: OnceCell<Postgres> = OnceCell::const_new();
    let server = match std::env::var(POSTGRES_URL) {
        Ok(url) => url,
        Err(_) => OWN.get_or_init(Postgres::start).await.url(),
    };
    let name = unheard_of();
    create_database(&server, &name).await;
    let (server, options) = server.split_once('?').map_or((server.as_str(), ""), |(server, options)| (server, options));
    let (server, _) = server.rsplit_once('/').expect("a URL with a database");
    if options.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{options}") }
}

/// Returns the URL of an empty place on the server that [`REDIS_URL`] names, or else on one that this process shares and that
/// ends with it: a prefix that no other key there has. Keys written there are not removed.
///
/// # Panics
/// If there is no server.
pub async fn redis_database() -> String {
    static OWN: OnceCell<Redis> = OnceCell::const_new();
    let server = match std::env::var(REDIS_URL) {
        Ok(url) => url,
        Err(_) => OWN.get_or_init(Redis::start).await.url(),
    };
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}prefix={}", unheard_of())
}

fn unheard_of() -> String {
    format!("adieu_test_{:032x}", fastrand::u128(..))
}
