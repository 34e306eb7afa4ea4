//! Migration to another store: no user is logged out, and no revoked token is accepted again.

use std::time::{Duration, Instant};

use adieu::{
    Issuer, SessionId, Subject,
    revocation::{Revocation, Target},
    session::Selection,
    time::{Clock as _, SystemClock, Timestamp},
    token::TokenError,
};
use adieu_events::{Alias, AliasKind};
use adieu_server::{
    accounts::{LastAdmin, Role},
    aliases::{AliasFilter, KnownAlias, Named},
    config::{Flags, Settings, StoreAddress},
    deliveries::Holder,
    node::Node,
    store::{Stores, copy::copy},
    text::{Password, Username},
};

use crate::support::Place;

/// Each store has its own data folder, as on separate machines, so that they share no mark.
fn settings(store: &str) -> Settings {
    let data = tempfile::tempdir().unwrap().keep().join("data");
    let environment = [("ADIEU_STORE".into(), store.into()), ("ADIEU_DATA".into(), data.into())];
    Settings::load(&Flags::default(), environment).unwrap()
}

fn alias(email: &str, subject: &str) -> KnownAlias {
    let (issuer, subject) = (Issuer::new("https://login.example").unwrap(), Subject::new(subject).unwrap());
    let alias = Alias::new(AliasKind::Email, email).unwrap();
    KnownAlias { named: Named { issuer, alias, subject }, seen_at: Timestamp::from_unix(1_800_000_000) }
}

struct Before {
    ended: adieu::session::TokenPair,
    live: adieu::session::TokenPair,
}

/// Creates a store with users, sessions, and logouts.
async fn old_store(settings: &Settings, sessions: usize) -> Before {
    let node = Node::open(settings).await.unwrap();
    let password = Password::typed("correct horse battery staple".into()).unwrap();
    let jose = node.accounts.add(Username::new("jose").unwrap(), &password, Role::Admin, None).await.unwrap();
    let ana = node.accounts.add(Username::new("ana").unwrap(), &password, Role::User, None).await.unwrap();
    node.accounts.disable(&ana.id, LastAdmin::MayGo).await.unwrap();
    let log_in = || node.sessions.log_in(jose.id.clone());
    let (ended, live) = (log_in().await.unwrap(), log_in().await.unwrap());
    node.sessions.log_out(&ended.access, adieu::session::Scope::This).await.unwrap();
    // Many sessions, so that a copy takes a while.
    let template = node.sessions.store().session(live.claims.session.as_ref().unwrap()).await.unwrap().unwrap();
    let core = Stores::open(settings).await.unwrap().core();
    let mut writing = tokio::task::JoinSet::new();
    for _ in 0..sessions {
        let session = adieu::session::Session { id: SessionId::random(), ..template.clone() };
        let core = core.clone();
        writing.spawn(async move { core.create(session).await });
    }
    while let Some(written) = writing.join_next().await {
        written.unwrap().unwrap();
    }
    let revocations = (0..sessions).map(|number| Revocation {
        issuer: Issuer::new("adieu").unwrap(),
        target: Target::Session { id: SessionId::new(format!("elsewhere-{number}")).unwrap() },
        lapses_at: SystemClock.now().plus(Duration::from_secs(600)),
    });
    node.sessions.append(revocations.collect()).await.unwrap();
    node.close().await;
    Before { ended, live }
}

/// Checks the tokens that the old store issued against the new one.
async fn is_complete(settings: &Settings, before: &Before, sessions: usize) {
    let node = Node::open(settings).await.unwrap();
    assert_eq!(node.core.verifier().verify(&before.live.access).unwrap().subject, before.live.claims.subject);
    assert!(matches!(node.core.verifier().verify(&before.ended.access), Err(TokenError::Revoked(_))));
    let ended = node.sessions.inspect(&before.ended.refresh);
    assert!(ended.is_err() || node.sessions.refresh(&ended.unwrap()).await.is_err());
    assert!(node.core.verifier().index().stats().entries > sessions);
    let mut after = None;
    let mut count = 0;
    loop {
        let page = node.sessions.store().sessions(after.as_ref(), 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        (after, count) = (Some(last.key()), count + page.len());
    }
    assert_eq!(count, sessions + 1);
    let ana = node.accounts.store().by_username(&Username::new("ana").unwrap()).await.unwrap().unwrap();
    assert!(ana.is_disabled, "an account is what it was");
    // The session can still be refreshed.
    let refresh = node.sessions.inspect(&before.live.refresh).unwrap();
    node.sessions.refresh(&refresh).await.unwrap();
    node.sessions
        .end_sessions(Selection::Owned(before.live.claims.session.clone().unwrap(), refresh.subject().clone()))
        .await
        .unwrap();
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_postgres_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("old.sqlite").display());
    let back = format!("sqlite:{}", folder.path().join("new.sqlite").display());
    let url = test_servers::postgres_database().await;
    let before = old_store(&settings(&file), 700).await;
    let address = |text: &str| text.parse::<StoreAddress>().unwrap();
    let (now, receivers) = (SystemClock.now(), Stores::open(&settings(&file)).await.unwrap().deliveries());
    let holder = Holder { id: "a".to_owned(), until: now.plus(Duration::from_secs(30)) };
    receivers.claim("shop", &holder, now, &"log.7".parse().unwrap()).await.unwrap().unwrap();

    let password = Password::typed("correct horse battery staple".into()).unwrap();
    let hour = Duration::from_secs(3_600);
    let node = Node::open(&settings(&file)).await.unwrap();
    let [(_, code), (_, used), (_, expired)] = {
        let invite = |valid_for| node.accounts.invite(valid_for);
        [invite(hour).await.unwrap(), invite(hour).await.unwrap(), invite(Duration::ZERO).await.unwrap()]
    };
    let register = async |node: &Node, name: &str, code: &str| {
        let name = Username::new(name).unwrap();
        node.accounts.add_invited(name, &password, code, [127, 0, 0, 1].into()).await
    };
    register(&node, "invited", &used).await.unwrap();
    node.close().await;

    // More than are copied at once.
    let known = (0..1_201).map(|number| alias(&format!("user{number}@example.com"), "jose"));
    Stores::open(&settings(&file)).await.unwrap().aliases().add_aliases(known.collect()).await.unwrap();

    let copied = copy(&address(&file), &address(&url), &[], |_| ()).await.unwrap();
    assert_eq!((copied.accounts, copied.clients, copied.sessions, copied.keys), (3, 0, 701, 1));
    assert_eq!((copied.aliases, copied.invites), (1_201, 1));
    let again = copy(&address(&url), &address(&back), &[], |_| ()).await.unwrap();
    assert_eq!((again.accounts, again.sessions, again.revocations), (3, 701, copied.revocations));
    assert_eq!(again.invites, 1);
    let node = Node::open(&settings(&back)).await.unwrap();
    for not_valid in [&used, &expired] {
        assert!(register(&node, "late", not_valid).await.is_err());
    }
    register(&node, "new", &code).await.unwrap();
    assert!(register(&node, "newer", &code).await.is_err(), "once");
    node.close().await;
    for store in [&url, &back] {
        let aliases = Stores::open(&settings(store)).await.unwrap().aliases();
        let all = aliases.aliases(&AliasFilter::default(), None, 2_000).await.unwrap();
        assert_eq!(all.len(), 1_201);
        assert!(all.contains(&alias("user1200@example.com", "jose")));
        let [shop] =
            Stores::open(&settings(store)).await.unwrap().deliveries().deliveries().await.unwrap().try_into().unwrap();
        assert_eq!(
            (&*shop.receiver, shop.cursor),
            ("shop", None),
            "a receiver of webhooks gets everything that is in force"
        );
    }
    is_complete(&settings(&url), &before, 700).await;
    is_complete(&settings(&back), &before, 700).await;

    // The new store is in use from there: a session that has ended in it does not come back.
    let copied = copy(&address(&file), &address(&url), &[], |_| ()).await.unwrap();
    assert!(copied.before && copied.sessions == 0);
    let node = Node::open(&settings(&url)).await.unwrap();
    assert!(matches!(node.core.verifier().verify(&before.live.access), Err(TokenError::Revoked(_))));
}

#[tokio::test]
async fn nothing_is_copied_into_a_store_that_holds_something_else() {
    let place = Place::empty();
    let file = |name: &str| format!("sqlite:{}", place.path(name).display());
    let (from, to) = (file("a.sqlite"), file("b.sqlite"));
    old_store(&settings(&from), 1).await;
    old_store(&settings(&to), 1).await;
    for (to, why) in [(&to, "is not empty"), (&from, "are the same store")] {
        let told = place.run(&["store", "copy", "--from", &from, "--to", to]).failed();
        assert!(told.contains(why), "{told}");
    }
    let told = place.run(&["store", "copy", "--from", "sqlite:nowhere.sqlite", "--to", &to]).failed();
    assert_eq!(told, "no store in sqlite:nowhere.sqlite");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_interrupted_is_completed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("old.sqlite").display());
    let url = test_servers::postgres_database().await;
    let address = folder.path().join("address");
    std::fs::write(&address, &url).unwrap();
    const SESSIONS: usize = 6_000;
    let before = old_store(&settings(&file), SESSIONS).await;
    let mut kills = 0;
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(300), "it does not come to its end");
        let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_adieu"))
            .args(["store", "copy", "--from", &file, "--to-file", address.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // A little later each time, so that it is killed in every part of the work.
        let patience = Duration::from_millis(100 + 150 * kills);
        match tokio::time::timeout(patience, process.wait()).await {
            Ok(status) => {
                assert!(status.unwrap().success());
                break;
            }
            Err(_) => {
                process.kill().await.unwrap();
                kills += 1;
                // A node that starts too early does no harm, and can verify none of the tokens.
                if kills == 3 {
                    let node = Node::open_for_command(&settings(&url)).await.unwrap();
                    assert!(node.core.verifier().verify(&before.ended.access).is_err());
                }
            }
        }
    }
    println!("completed after {kills} kills");
    assert!(kills > 0);
    is_complete(&settings(&url), &before, SESSIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_rolled_back_is_not_copied() {
    let place = Place::with_backup().await;
    let copy = |config: &str| {
        let arguments = ["store", "copy", "--from", "sqlite:data/adieu.sqlite", "--to", "sqlite:new/adieu.sqlite"];
        place.run(&[&arguments[..], &["--config", config]].concat())
    };
    place.write("none.toml", "");
    place.write("mark.toml", "high_water_file = 'mark'");
    let refused = copy("none.toml").failed();
    assert!(refused.contains("data.high-water shows") && refused.contains("`adieu log accept-restore`"), "{refused}");
    for (from, to, config) in
        [("data.high-water", "data/high-water", "none.toml"), ("data/high-water", "mark", "mark.toml")]
    {
        std::fs::rename(place.path(from), place.path(to)).unwrap();
        let refused = copy(config).failed();
        assert!(refused.contains(&format!("{to} shows")), "{refused}");
    }
    assert!(!place.path("new").exists());
    let another = ["user", "add", "ana", "--password-stdin", "--data", "another"];
    place.run_with(&another, b"1234").succeeded();
    let unrelated =
        ["--from", "sqlite:another/adieu.sqlite", "--to", "sqlite:new/another.sqlite", "--config", "mark.toml"];
    place.run(&[&["store", "copy"], &unrelated[..]].concat()).succeeded();

    std::fs::rename(place.path("mark"), place.path("data.high-water")).unwrap();
    place.run(&["log", "accept-restore"]).succeeded();
    copy("none.toml").succeeded();
    let status = place.run(&["log", "status", "--json", "--data", "new"]).succeeded().object();
    assert_ne!(status["entries"], 0, "what was issued before stays revoked");
}
