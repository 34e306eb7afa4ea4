//! A server that could lose acknowledged writes is rejected, with the name of the setting.

use std::time::Duration;

use adieu::{
    Error,
    revocation::RevocationLog,
    run_maintenance,
    session::{Selection, SessionStore},
    token::KeyStore,
};
use adieu_conformance::sample::{after, ending, key, session, token};
use adieu_redis::Redis;
use test_servers::Redis as Server;

const PASSWORD: &str = "redis-password-4711";

/// Returns the error for a server with these settings, and checks whether it can be used when that is allowed.
async fn refused(settings: &[(&str, &str)]) -> String {
    let server = Server::start_with(settings).await;
    let refused = Redis::connect(&server.url()).await.unwrap_err();
    assert!(matches!(refused, Error::UnsuitableServer(_)), "{refused:?}");
    let allowed = Redis::builder(&server.url()).allow_weaker_durability().connect().await.unwrap();
    allowed.check().await.unwrap();
    refused.to_string()
}

#[tokio::test]
async fn by_each_setting_that_loses_something() {
    let cases = [
        ("appendonly", "no"),
        ("appendfsync", "everysec"),
        ("appendfsync", "no"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
        ("maxmemory-policy", "allkeys-random"),
    ];
    for (setting, value) in cases {
        let sentence = refused(&[(setting, value)]).await;
        assert!(sentence.contains(&format!("`{setting}` of the Redis server is {value}")), "{sentence}");
    }
}

#[tokio::test]
async fn but_not_by_one_that_evicts_only_what_expires() {
    let server = Server::start_with(&[("maxmemory-policy", "volatile-lru")]).await;
    Redis::connect(&server.url()).await.unwrap();
}

#[tokio::test]
async fn when_it_does_not_show_its_settings() {
    let server = Server::start().await;
    server.command(&["ACL", "SETUSER", "adieu", "on", &format!(">{PASSWORD}"), "~*", "+@all", "-config"]).await;
    let url = server.url().replace("redis://", &format!("redis://adieu:{PASSWORD}@"));
    let refused = Redis::connect(&url).await.unwrap_err();
    assert!(refused.to_string().contains("`appendonly` of the Redis server is not known"), "{refused}");
    let store = Redis::builder(&url).allow_weaker_durability().connect().await.unwrap();
    store.check().await.unwrap();
    for shown in [format!("{refused:?}"), format!("{store:?}"), format!("{:?}", Redis::builder(&url))] {
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
}

#[tokio::test]
async fn a_replica_is_refused_whatever_is_allowed() {
    let primary = Server::start().await;
    let replica = Server::start_with(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]).await;
    let builder = || Redis::builder(&replica.url());
    for builder in [builder(), builder().allow_weaker_durability()] {
        let refused = builder.connect().await.unwrap_err();
        assert!(format!("{refused:?}").contains("is a replica"), "{refused:?}");
    }
}

#[tokio::test]
async fn nothing_that_fails_shows_the_password() {
    let server = Server::start_with(&[("requirepass", PASSWORD)]).await;
    let good = server.url();
    Redis::connect(&good).await.unwrap().check().await.unwrap();
    let wrong = [
        good.replace(PASSWORD, &format!("{PASSWORD}-wrong")),
        good.replace(&server.port().to_string(), "1"),
        good.replace("redis://", "rediss://"),
        good.replace("redis://", "http://"),
        good.replace("redis://", "nonsense "),
        format!("{good}no-database"),
        format!("{good}?prefix="),
        format!("{good}?prefix=%7Bx%7D"),
    ];
    for url in wrong {
        let error = Redis::connect(&url).await.unwrap_err();
        let mut shown = format!("{error} {error:?}");
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            shown.push_str(&source.to_string());
            cause = source;
        }
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
}

#[tokio::test]
async fn one_that_becomes_weaker_is_refused_when_it_comes_back() {
    let server = Server::start().await;
    let store = Redis::connect(&server.url()).await.unwrap();
    store.check().await.unwrap();
    server.command(&["CONFIG", "SET", "appendfsync", "everysec"]).await;
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let error = test_servers::recovers(async || match store.check().await {
        Err(error) if format!("{error:?}").contains("appendfsync") => Ok(error),
        other => Err(other),
    });
    assert!(matches!(error.await, Error::Unavailable(_)));
    server.command(&["CONFIG", "SET", "appendfsync", "always"]).await;
    test_servers::recovers(async || store.check().await).await;
}

/// The permissions that the documentation lists are enough: a user with only these runs everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_documentation_are_enough() {
    let documentation = include_str!("../../../../docs/redis.md");
    let rule = documentation.lines().find_map(|line| line.trim().strip_prefix("user adieu ")).unwrap();
    let server = Server::start().await;
    let set = ["ACL", "SETUSER", "adieu"].into_iter().chain(rule.split(' ')).collect::<Vec<_>>();
    assert_eq!(server.command(&set).await, "+OK");
    let store = Redis::connect(&format!("redis://adieu:password@127.0.0.1:{}/1", server.port())).await.unwrap();
    let session = session("ana");
    store.create(session.clone()).await.unwrap();
    store.record_last_seen(vec![(session.id.clone(), session.subject.clone(), after(1))]).await.unwrap();
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().id, session.id);
    assert_eq!(store.sessions_of(&session.subject, None, 10).await.unwrap().len(), 1);
    assert_eq!(store.oldest().await.unwrap().unwrap().id, session.id);
    store.latest_expiry().await.unwrap();
    store.end(ending(Selection::OfSubject(session.subject))).await.unwrap();
    store.end(ending(Selection::All { issued_until: after(0) })).await.unwrap();
    let first = store.add_first_key(key(after(0))).await.unwrap();
    store.replace_keys(Some(key(after(1))), vec![first[0].id.clone()]).await.unwrap();
    assert_eq!(store.keys().await.unwrap().len(), 1);
    store.append(vec![token("a")]).await.unwrap();
    let cursor = crate::support::cursor(&store).await;
    run_maintenance(&store, &store, after(1_000_000)).await.unwrap();
    store.check().await.unwrap();
    // Waiting for news is allowed as well.
    let waiting = store.read(Some(&cursor), Duration::from_secs(60));
    let (page, _) = tokio::join!(waiting, store.append(vec![token("b")]));
    assert_eq!(page.unwrap().entries, [token("b")]);
    assert_eq!(store.memory().limit, 0);
    // Except the client library's report about itself, which is not necessary.
    let denied = server.command(&["ACL", "LOG"]).await;
    let objects = denied.split("object\r\n").skip(1).filter_map(|entry| entry.lines().nth(1));
    assert!(objects.into_iter().all(|object| object.starts_with("client")), "{denied}");
}
