//! A new key is known everywhere before it signs, and an old key stays until no token signed by it is left.

use std::time::Duration;

use adieu::{
    Error, Node, Subject, run_maintenance,
    session::{Scope, SessionSettings, delete_lapsed_keys, retained_until},
    store::Memory,
    time::{Clock as _, Timestamp},
    token::{Algorithm, KeyStore as _, SigningKey, TokenError, load_or_make_keys, rotate_key},
};
use adieu_sqlite::Sqlite;

use crate::{
    keys_of_a_store::{Time, ids, key_of, log_in, refresh, refusal, signs},
    support::{MAX_STALENESS, NOON, issuer},
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn a_rotation_on_one_node_is_honoured_by_the_others_and_refuses_nobody() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let (here, there) = (time.node(&store).await, time.node(&store).await);
    let before = log_in(&here).await;
    let old = signs(&here);

    let new = here.rotate_key(HOUR).await.unwrap();
    assert_eq!(new.signs_from, NOON.plus(HOUR));
    time.pass(MAX_STALENESS).await;
    for node in [&here, &there] {
        let set = node.verifier().decoder().keys();
        assert_eq!(set.jwks().keys.len(), 2);
        assert_eq!(node.signing_keys().len(), 2);
        assert_eq!((signs(node), key_of(&log_in(node).await.access)), (old.clone(), old.clone()));
    }

    // Each node signs with it from that very second, and each node knows it.
    time.jump(HOUR - MAX_STALENESS * 2 - Duration::from_secs(1)).await;
    assert_eq!((signs(&here), signs(&there)), (old.clone(), old.clone()));
    time.pass(Duration::from_secs(1)).await;
    for (one, other) in [(&here, &there), (&there, &here)] {
        let tokens = log_in(one).await;
        assert_eq!((key_of(&tokens.access), key_of(&tokens.refresh)), (new.id.clone(), new.id.clone()));
        assert_eq!(refusal(other, &tokens.access), None);
        let refreshed = refresh(other, &tokens.refresh).await.unwrap();
        assert_eq!(refusal(one, &refreshed.access), None);
    }

    // A token of the old key is valid until it expires, and a refresh exchanges it for one of the new key.
    let refreshed = refresh(&there, &before.refresh).await.unwrap();
    assert_eq!((key_of(&before.refresh), key_of(&refreshed.access)), (old, new.id.clone()));
    let (renewed, _) = here.sessions().renew(&refreshed.access, &Default::default()).await.unwrap();
    assert_eq!(key_of(&renewed), new.id);
    here.sessions().log_out(&refreshed.refresh, Scope::This).await.unwrap();
    time.pass(MAX_STALENESS).await;
    assert!(matches!(refusal(&there, &refreshed.access), Some(TokenError::Revoked(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_one_by_another_process_on_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let open = async || Sqlite::open(&file).await.unwrap();
    let node = Node::builder(issuer()).start(open().await).await.unwrap();
    let before = log_in(&node).await;

    let other = open().await;
    let now = node.clock().now();
    let planned = rotate_key(&other, Some(Algorithm::ES256), now, now.plus(HOUR)).await.unwrap();
    let at_once = rotate_key(&other, None, now, now).await.unwrap();
    assert_eq!(at_once.algorithm, Algorithm::ES256);
    let started = std::time::Instant::now();
    while node.signing_keys().len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(60), "the change did not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(signs(&node), at_once.id);
    assert_eq!(ids(&other).await, [key_of(&before.access), at_once.id.clone(), planned.id]);
    assert_eq!(refusal(&node, &before.access), None);
    let after = refresh(&node, &before.refresh).await.unwrap();
    assert_eq!(key_of(&after.access), at_once.id);
    assert_eq!(refusal(&node, &after.access), None);
}

#[tokio::test(start_paused = true)]
async fn two_rotations_at_once_are_harmless() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let (here, there) = (time.node(&store).await, time.node(&store).await);
    let before = log_in(&here).await;
    let (one, other) = tokio::join!(here.rotate_key(HOUR), there.rotate_key(HOUR));
    let made = [one.unwrap().id, other.unwrap().id];
    time.jump(HOUR).await;
    assert_eq!(signs(&here), signs(&there));
    assert!(made.contains(&signs(&here)));
    for tokens in [before.access, log_in(&here).await.access, log_in(&there).await.access] {
        // An hour is longer than the lifetime of an access token.
        let expected = (key_of(&tokens) != signs(&here)).then_some(TokenError::Expired);
        assert_eq!((refusal(&here, &tokens), refusal(&there, &tokens)), (expected.clone(), expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_signs_only_once_its_time_has_come_also_on_a_clock_that_goes_back() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let node = time.node(&store).await;
    let old = signs(&node);
    let new = node.rotate_key(HOUR).await.unwrap();
    time.jump(HOUR).await;
    assert_eq!(signs(&node), new.id);
    time.0.set_wall(NOON);
    assert_eq!(signs(&node), old);
    // Before the time of every key, one of them has to sign.
    time.0.set_wall(Timestamp::ZERO);
    assert_eq!(signs(&node), old);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_kept_until_the_last_token_that_it_signed_has_lapsed() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let node = time.node(&store).await;
    let settings = SessionSettings::new(issuer());
    let lifetime = settings.session_lifetime;
    let old = signs(&node);
    let new = node.rotate_key(HOUR).await.unwrap();
    let keys = store.keys().await.unwrap();
    assert_eq!(retained_until(&keys, &new.id, lifetime), None);
    assert_eq!(retained_until(&keys, "unknown", lifetime), None);
    let until = retained_until(&keys, &old, lifetime).unwrap();
    assert!(until > new.signs_from.plus(lifetime));

    // In its last second it signs a refresh token with the longest possible lifetime.
    time.jump(HOUR - Duration::from_secs(3)).await;
    let tokens = {
        let options = adieu::session::TokenOptions::new().with_refresh_lifetime(lifetime);
        let sessions = node.sessions();
        sessions.log_in_with(crate::support::jose(), Default::default(), &options).await.unwrap()
    };
    assert_eq!(key_of(&tokens.refresh), old);
    let sessions = node.sessions().store();
    let forget = async |now| {
        run_maintenance(&**node.log(), sessions, now).await.unwrap();
        delete_lapsed_keys(&store, sessions, lifetime, now).await.unwrap()
    };
    time.jump(lifetime - Duration::from_secs(10)).await;
    assert_eq!(forget(node.clock().now()).await, 0);
    assert!(node.sessions().inspect(&tokens.refresh).is_ok());

    assert_eq!(forget(Timestamp::from_unix(until.as_unix() - 1)).await, 0);
    assert_eq!(ids(&store).await, [old, new.id.clone()]);
    assert_eq!(forget(until).await, 1);
    assert_eq!(ids(&store).await, std::slice::from_ref(&new.id));
    // The signing key is never removed.
    assert_eq!(forget(Timestamp::MAX).await, 0);
    assert_eq!(ids(&store).await, [new.id]);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_longer_lived_settings_keeps_its_key() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let year = DAY * 365;
    let earlier = SessionSettings::new(issuer()).with_refresh_lifetime(year).with_session_lifetime(year);
    let node = time.builder().with_session_settings(earlier).start(store.clone()).await.unwrap();
    let tokens = log_in(&node).await;
    drop(node);

    let lifetime = DAY * 7;
    let later = SessionSettings::new(issuer()).with_refresh_lifetime(lifetime).with_session_lifetime(lifetime);
    let node = time.builder().with_session_settings(later).start(store.clone()).await.unwrap();
    let old = signs(&node);
    node.rotate_key(HOUR).await.unwrap();
    time.jump(DAY * 30).await;
    log_in(&node).await;
    // The oldest session is not the first subject's.
    node.sessions().log_in(Subject::new("ana").unwrap()).await.unwrap();
    let sessions = node.sessions().store();
    let forget = async || {
        run_maintenance(&**node.log(), sessions, node.clock().now()).await.unwrap();
        delete_lapsed_keys(&store, sessions, lifetime, node.clock().now()).await.unwrap()
    };
    assert_eq!(forget().await, 0);
    let tokens = refresh(&node, &tokens.refresh).await.unwrap();

    // After the session has ended, the key is no longer needed.
    node.sessions().log_out(&tokens.access, Scope::This).await.unwrap();
    assert_eq!(forget().await, 1);
    assert!(!ids(&store).await.contains(&old));
}

#[tokio::test(start_paused = true)]
async fn housekeeping_forgets_it_by_a_clock_that_can_be_trusted() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let node = time.node(&store).await;
    node.rotate_key(HOUR).await.unwrap();
    let _housekeeping = node.start_housekeeping();
    let minutes = async |count: u32| {
        for _ in 0..count {
            time.0.advance(Duration::from_secs(60));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    };
    minutes(20).await;
    // The clock is ahead by a year for a moment.
    let now = time.0.now();
    time.0.set_wall(now.plus(DAY * 365));
    minutes(5).await;
    time.0.set_wall(now.plus(Duration::from_secs(300)));
    minutes(20).await;
    assert_eq!(ids(&store).await.len(), 2);
    // Now permanently.
    time.0.set_wall(now.plus(DAY * 365));
    minutes(20).await;
    assert_eq!(ids(&store).await.len(), 1);
    assert_eq!(node.signing_keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_key_of_its_own_takes_no_notice() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let own = SigningKey::generate(Algorithm::ES256).unwrap();
    let node = time.builder().with_signing_key(own.clone()).start(store.clone()).await.unwrap();
    let tokens = log_in(&node).await;
    assert!(store.keys().await.unwrap().is_empty());
    load_or_make_keys(&store, Algorithm::EdDSA, NOON).await.unwrap();
    rotate_key(&store, None, NOON, NOON).await.unwrap();
    time.pass(MAX_STALENESS * 2).await;
    assert_eq!(signs(&node), own.key_id().unwrap().to_string());
    assert_eq!((node.signing_keys().len(), node.verifier().decoder().keys().jwks().keys.len()), (1, 1));
    assert_eq!(refusal(&node, &tokens.access), None);

    assert!(matches!(node.rotate_key(HOUR).await, Err(Error::Unsupported(_))));
    assert!(matches!(node.remove_key(&signs(&node)).await, Err(Error::Unsupported(_))));
    let kept = ids(&store).await;
    let _housekeeping = node.start_housekeeping();
    time.jump(DAY * 365).await;
    assert_eq!(ids(&store).await, kept);
}

#[tokio::test]
async fn a_key_of_every_algorithm_can_be_made_and_kept() {
    let store = Memory::new();
    for (index, algorithm) in Algorithm::ALL.into_iter().enumerate() {
        // Generating an RSA key takes seconds, and the code is the same for all of them.
        if matches!(algorithm.as_str(), "RS384" | "RS512" | "PS256" | "PS384" | "PS512") {
            continue;
        }
        let seconds = Duration::from_secs(index.try_into().unwrap());
        let time = Time::at_noon();
        time.0.set_wall(NOON.plus(seconds));
        rotate_key(&store, Some(algorithm), NOON, time.0.now()).await.unwrap();
        let node = time.node(&store).await;
        assert_eq!(node.signing_key().algorithm(), algorithm);
        let tokens = log_in(&node).await;
        assert_eq!((refusal(&node, &tokens.access), key_of(&tokens.access)), (None, signs(&node)));
    }
}

#[tokio::test]
async fn no_more_keys_are_made_than_a_set_can_hold() {
    let store = Memory::new();
    let mut made = 0;
    let refused = loop {
        match rotate_key(&store, None, NOON, NOON).await {
            Ok(_) => made += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Error::Key(_)), "{refused}");
    assert_eq!(made, ids(&store).await.len());
    // Many concurrent calls exceed that limit, but not by much.
    assert!(made * 2 <= adieu::token::MAX_KEYS);
    assert!(Node::builder(issuer()).start(store).await.is_ok());
}
