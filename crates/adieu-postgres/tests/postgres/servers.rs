//! An unsuitable server or schema is rejected, with a message that names the reason, and left unchanged.

use adieu::{Error, revocation::RevocationLog};
use adieu_conformance::{
    Storage,
    sample::{read_all, token},
};
use adieu_postgres::Postgres;
use tokio::task::JoinSet;

use crate::engine::{InDatabase, behind_its_back, connected};

async fn refusal(url: &str) -> Error {
    let Err(error) = Postgres::connect(url).await else { panic!("it was connected to") };
    let shown = format!("{error:?} {error}");
    assert!(!shown.contains("postgres-password"), "{shown}");
    error
}

#[tokio::test]
async fn what_is_no_url_of_a_database() {
    for url in
        ["", "sqlite:adieu", "postgres-password", "postgres://a:postgres-password@[::1", "postgres://a:b@c:port/d"]
    {
        assert!(matches!(refusal(url).await, Error::InvalidSetting(_)), "{url}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let outcome = Postgres::connect("postgres://adieu:postgres-password@127.0.0.1:1/adieu").await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn the_password_is_shown_to_nobody() {
    let place = InDatabase::empty().await;
    let store = place.open().await;
    let shown = format!("{store:?} {}", store.address());
    assert!(shown.contains("127.0.0.1") && !shown.contains("password"), "{shown}");
    let wrong = place.0.replace("postgres-password", "another-secret");
    let wrong = Postgres::connect(&wrong).await;
    if let Err(error) = wrong {
        assert!(!format!("{error:?}").contains("another-secret"));
    }
}

#[tokio::test]
async fn a_schema_of_another_program() {
    for made_by in [
        "CREATE TABLE adieu.bookmark (url TEXT)",
        "CREATE TABLE adieu.component (id BIGINT)",
        "CREATE TABLE adieu.component (name TEXT, version BIGINT)",
        "CREATE TABLE adieu.component (name BIGINT, version TEXT); INSERT INTO adieu.component VALUES (1, 'one')",
    ] {
        let place = InDatabase::empty().await;
        behind_its_back(&place.0, "CREATE SCHEMA adieu").await;
        behind_its_back(&place.0, made_by).await;
        let Error::IncompatibleStore(message) = refusal(&place.0).await else { panic!("{made_by}") };
        assert!(message.contains("another program's"), "{message}");
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'adieu'::regnamespace AND relkind = 'r'";
        assert_eq!(connected(&place.0).await.number(tables).await, 1);
    }
}

#[tokio::test]
async fn an_empty_schema_and_other_tables_beside_it_are_no_hindrance() {
    let place = InDatabase::empty().await;
    behind_its_back(
        &place.0,
        "CREATE SCHEMA adieu; CREATE TABLE public.session (mine TEXT); CREATE TABLE public.component (mine TEXT)",
    )
    .await;
    place.open().await.append(vec![token("a")]).await.unwrap();
    assert_eq!(connected(&place.0).await.number("SELECT count(*) FROM public.session").await, 0);
}

#[tokio::test]
async fn a_newer_version() {
    let place = InDatabase::empty().await;
    drop(place.open().await);
    behind_its_back(&place.0, "UPDATE adieu.component SET version = 999 WHERE name = 'adieu'").await;
    let Error::IncompatibleStore(message) = refusal(&place.0).await else { panic!("it is newer") };
    assert!(message.contains("newer version of adieu (adieu schema 999)"), "{message}");
}

#[tokio::test]
async fn components_have_their_own_tables() {
    const STEPS: &[&str] = &["CREATE TABLE one (a TEXT)", "CREATE TABLE two (a TEXT); INSERT INTO one VALUES ('a')"];
    let place = InDatabase::empty().await;
    let store = place.open().await;
    store.migrate("guests", &STEPS[..1]).await.unwrap();
    store.migrate("guests", STEPS).await.unwrap();
    store.migrate("guests", STEPS).await.unwrap();
    let rows = store.fetch_all(adieu_postgres::sqlx::query("SELECT * FROM one, two")).await.unwrap();
    assert!(rows.is_empty());
    match store.migrate("guests", &STEPS[..1]).await {
        Err(Error::IncompatibleStore(message)) => assert!(message.contains("guests schema 2"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        store.migrate("broken", &["CREATE TABLE three (a TEXT)", "nonsense"]).await,
        Err(Error::Unavailable(_))
    ));
    let there = "SELECT count(*) FROM pg_class WHERE relname = 'three'";
    assert_eq!(connected(&place.0).await.number(there).await, 0, "all or none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_that_start_at_once_make_one_log() {
    const STEPS: &[&str] = &["CREATE TABLE one (a TEXT)"];
    let place = InDatabase::empty().await;
    let mut starting = JoinSet::new();
    for number in 0..8 {
        let url = place.0.clone();
        starting.spawn(async move {
            let store = Postgres::connect(&url).await.unwrap();
            store.migrate("guests", STEPS).await.unwrap();
            store.append(vec![token(format!("{number}"))]).await.unwrap();
            store
        });
    }
    let stores = starting.join_all().await;
    let expected = read_all(&stores[0], None).await;
    assert_eq!(expected.0.len(), 8);
    for store in &stores {
        assert_eq!(read_all(store, None).await, expected);
    }
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_has_answered() {
    for setting in ["fsync", "full_page_writes"] {
        let server = test_servers::Postgres::start_with(&[(setting, "off")]).await;
        let Error::UnsuitableServer(message) = refusal(&server.url()).await else { panic!("{setting}") };
        assert!(message.contains(setting) && message.contains("may lose a logout"), "{message}");
        let store = Postgres::builder().allow_weaker_durability().connect(&server.url()).await.unwrap();
        store.append(vec![token("a")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_answers_before_its_disk_has_it_is_told_to_wait() {
    let server = test_servers::Postgres::start_with(&[("synchronous_commit", "off")]).await;
    let setting = "SELECT current_setting('synchronous_commit')";
    let ask = |store: Postgres| async move {
        let row = store.fetch_optional(adieu_postgres::sqlx::query(setting)).await.unwrap().unwrap();
        adieu_postgres::sqlx::Row::get::<String, _>(&row, 0)
    };
    assert_eq!(ask(Postgres::connect(&server.url()).await.unwrap()).await, "on");
    assert_eq!(ask(Postgres::builder().allow_weaker_durability().connect(&server.url()).await.unwrap()).await, "off");
}
