//! All sessions end, however many there are: the revocation is written first, and the rows are deleted in steps.

use std::time::Duration;

use adieu::{
    revocation::{Revocation, RevocationLog, Target},
    session::{EndSessions, Selection, SessionStore},
};
use adieu_conformance::{
    Storage,
    sample::{after, ending, issuer, read_all},
};
use adieu_postgres::sqlx::{self, Executor as _};

use crate::engine::{InDatabase, connected};

/// Every fifth row takes a millisecond or more, so that all of them together exceed the statement timeout, as millions would.
const SLOWLY: &str = "CREATE FUNCTION adieu.slowly() RETURNS TRIGGER LANGUAGE plpgsql AS \
                      $$BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END$$; \
                      CREATE TRIGGER slowly BEFORE DELETE ON adieu.session FOR EACH ROW WHEN (OLD.last_seen_at = 1) \
                      EXECUTE FUNCTION adieu.slowly()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cut_off_comes_first_and_no_number_of_sessions_is_too_great() {
    const SESSIONS: i64 = 25_000;
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let mut other = connected(&place.0).await;
    // Two were refreshed after the cut-off, and one lives longest: none of them is in the first step.
    let fill = format!(
        "INSERT INTO adieu.session SELECT lpad(n::text, 8, '0'), 'session ' || n, 0, (n % 5 = 0)::integer, NULL, NULL, 'refresh ' || n, \
         NULL,          {early} + (n = 20000 OR n = 24000)::integer * 100, {late}, {late}, {early} + 900 + (n = 24500)::integer * 86400 \
         FROM generate_series(1, {SESSIONS}) AS n; {SLOWLY}",
        early = after(0).as_unix(),
        late = after(86_400).as_unix()
    );
    other.execute(&fill).await;
    let cut_off =
        |lapses_at| Revocation { issuer: issuer(), target: Target::Everything { issued_until: after(10) }, lapses_at };
    let all = ending(Selection::All { issued_until: after(10) });
    let all = EndSessions { extra_revocations: vec![cut_off(after(10))], ..all };
    let (empty, reader) = (read_all(&store, None).await.1, place.open().await);
    let first = async {
        let page = reader.read(Some(&empty), Duration::from_secs(600)).await.unwrap();
        (page.entries, other.number("SELECT count(*) FROM adieu.session").await)
    };
    let end = async { store.end(all).await.unwrap().unwrap() };
    let (ended, (entries, left)) = tokio::join!(end, first);
    assert_eq!(entries, [cut_off(Revocation::lapse_for(after(900)))], "before all are gone");
    assert!(left > 0, "in steps");
    assert_eq!((ended.sessions, other.number("SELECT count(*) FROM adieu.session").await), (25_000, 0));
    let mut sessions: Vec<_> = ended
        .revocations
        .iter()
        .filter_map(|revocation| match &revocation.target {
            Target::Session { id } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    sessions.sort_unstable();
    assert_eq!(sessions, ["session 20000", "session 24000"]);
    assert_eq!(*ended.revocations.last().unwrap(), cut_off(Revocation::lapse_for(after(900 + 86_400))));
    assert_eq!(read_all(&store, None).await.0, ended.revocations);
}

/// The last expiry is queried after a restore, over as many rows.
#[tokio::test]
async fn the_last_expiry_is_found_among_any_number() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let fill = "INSERT INTO adieu.session SELECT lpad(n::text, 8, '0'), '1', 0, 0, NULL, NULL, '1', NULL, 0, n, n, 0 \
                FROM generate_series(1, 120000) AS n; \
                UPDATE adieu.session SET access_expires_at = 200000 WHERE subject = '00110000'";
    connected(&place.0).await.0.execute(sqlx::raw_sql(fill)).await.unwrap();
    assert_eq!(store.latest_expiry().await.unwrap().as_unix(), 200_000);
}
