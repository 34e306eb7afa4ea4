//! Removing a signing key revokes everything that it has signed: at once on the node that removed it, within the bound everywhere else. A
//! node that can't know whether a key was removed rejects its tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use adieu::{
    Error, Node, Subject,
    revocation::{Freshness, Index, RevokedBy},
    session::{Scope, SessionError},
    store::Memory,
    time::{Clock as _, ManualClock},
    token::{
        Algorithm, Claims, Decoder, KeySet, KeyStore as _, Rules, SigningKey, StalePolicy, StoredKey, TokenError,
        TokenType, Verifier, active_key_at, encode, remove_key, rotate_key,
    },
};
use adieu_sqlite::Sqlite;

use crate::{
    keys_of_a_store::{Faulty, Reads, Time, ids, key_of, log_in, refresh, refusal, signs},
    support::{MAX_STALENESS, NOON, issuer, jose},
};

#[tokio::test(start_paused = true)]
async fn the_node_that_removed_it_refuses_at_once_also_what_it_remembers() {
    let time = Time::at_noon();
    let node = time.node(&Memory::new()).await;
    let tokens = log_in(&node).await;
    for _ in 0..3 {
        assert_eq!(refusal(&node, &tokens.access), None);
    }
    let decoder = node.verifier().decoder();
    assert_eq!((decoder.cache_stats().entries, decoder.cache_stats().hits), (1, 2));

    let old = signs(&node);
    let removed = node.remove_key(&old).await.unwrap().unwrap();
    assert_eq!(decoder.cache_stats().entries, 0);
    assert_eq!(refusal(&node, &tokens.access), Some(TokenError::UnknownKey));
    assert_eq!(node.sessions().inspect(&tokens.refresh).err(), Some(TokenError::UnknownKey));

    // Another key signs in its place.
    assert_eq!(signs(&node), removed.successor.unwrap().id);
    let tokens = log_in(&node).await;
    assert_ne!(key_of(&tokens.access), old);
    assert_eq!(refusal(&node, &tokens.access), None);
    assert!(refresh(&node, &tokens.refresh).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_node_refuses_it_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let node = async || Node::builder(issuer()).start(Sqlite::open(&file).await.unwrap()).await.unwrap();
    let (here, there) = (node().await, node().await);
    let tokens = log_in(&here).await;
    assert_eq!(refusal(&there, &tokens.access), None);

    here.remove_key(&signs(&here)).await.unwrap().unwrap();
    let answered_at = Instant::now();
    let refused = loop {
        let asked_at = Instant::now();
        match refusal(&there, &tokens.access) {
            None => assert!(asked_at <= answered_at + MAX_STALENESS, "accepted {:?} later", answered_at.elapsed()),
            Some(TokenError::Stale) => {}
            Some(refused) => break refused,
        }
        assert!(answered_at.elapsed() < Duration::from_secs(60), "the change did not arrive");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    // The revocation of the key arrives before its removal, or together with it.
    let refusals = [TokenError::UnknownKey, TokenError::Revoked(RevokedBy::Key)];
    assert!(refusals.contains(&refused), "{refused:?}");
    println!("the other node knew after {:?}", answered_at.elapsed());
    // The signing key changes a moment after the verification keys.
    while signs(&there) != signs(&here) {
        assert!(answered_at.elapsed() < Duration::from_secs(60), "it still signs with the removed key");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_can_not_read_the_keys_is_stale_after_the_bound_and_recovers() {
    for reads in [Reads::Fail, Reads::Hang] {
        let (time, memory) = (Time::at_noon(), Memory::new());
        let store = Faulty::on(&memory);
        let (here, there) = (time.node(&memory).await, time.node(&store).await);
        let tokens = log_in(&here).await;
        time.pass(MAX_STALENESS).await;
        assert_eq!(refusal(&there, &tokens.access), None);

        // The log can be read all the while, and has the revocation of the key; what else the keys are is not known.
        store.set(reads);
        let bound = MAX_STALENESS + Duration::from_millis(1);
        here.remove_key(&signs(&here)).await.unwrap().unwrap();
        assert_eq!(refusal(&here, &tokens.access), Some(TokenError::UnknownKey));
        time.pass(bound).await;
        assert_eq!(refusal(&there, &tokens.access), Some(TokenError::Revoked(RevokedBy::Key)), "{reads:?}");
        let new = log_in(&here).await;
        assert_eq!(refusal(&here, &new.access), None);
        // Nor can the node know that this token is invalid: other nodes accept it, and this one may at the next check.
        assert_eq!(refusal(&there, &new.access), Some(TokenError::Stale), "{reads:?}");

        store.set(Reads::Work);
        time.pass(MAX_STALENESS * 2).await;
        assert_eq!(refusal(&there, &tokens.access), Some(TokenError::UnknownKey), "{reads:?}");
        assert_eq!(refusal(&there, &new.access), None, "{reads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_not_stale_for_it_any_sooner() {
    let (time, store) = (Time::at_noon(), Faulty::on(&Memory::new()));
    let node = time.node(&store).await;
    let tokens = log_in(&node).await;
    time.pass(MAX_STALENESS).await;
    store.set(Reads::Fail);
    // Since the last read of the keys, at most a quarter of the bound and a sixteenth have passed.
    time.pass(MAX_STALENESS / 2).await;
    assert_eq!(refusal(&node, &tokens.access), None);
    store.set(Reads::Work);
    time.pass(MAX_STALENESS * 4).await;
    assert_eq!(refusal(&node, &tokens.access), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_revoked_is_known_also_while_the_keys_can_not_be_read() {
    for reads in [Reads::Fail, Reads::Hang] {
        let (time, memory) = (Time::at_noon(), Memory::new());
        let store = Faulty::on(&memory);
        let here = time.node(&memory).await;
        let there = time.builder().with_stale_policy(StalePolicy::Accept).start(store.clone()).await.unwrap();
        let tokens = log_in(&here).await;
        store.set(reads);
        time.pass(MAX_STALENESS).await;
        here.sessions().log_out(&tokens.access, Scope::This).await.unwrap();
        time.pass(MAX_STALENESS * 3).await;
        assert!(matches!(refusal(&there, &tokens.access), Some(TokenError::Revoked(_))), "{reads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_does_not_bring_it_back() {
    let (time, store) = (Time::at_noon(), Faulty::on(&Memory::new()));
    let node = Arc::new(time.node(&store).await);
    let tokens = log_in(&node).await;
    let old = signs(&node);

    // A read that has found the key is in flight while the key is removed.
    store.set(Reads::Wait);
    time.0.advance(MAX_STALENESS / 2);
    store.waiting.acquire().await.unwrap().forget();
    store.set(Reads::Work);
    let removing = tokio::spawn({
        let (node, old) = (Arc::clone(&node), old.clone());
        async move { node.remove_key(&old).await.unwrap().unwrap() }
    });
    while ids(&store.memory).await.contains(&old) {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.let_through.add_permits(1);
    removing.await.unwrap();
    // If a node applied the late answer, it would do so at one of these steps.
    for _ in 0..100 {
        assert_eq!(refusal(&node, &tokens.access), Some(TokenError::UnknownKey));
        tokio::task::yield_now().await;
    }
    time.pass(MAX_STALENESS).await;
    assert_eq!(refusal(&node, &tokens.access), Some(TokenError::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_does_not_make_a_new_key_a_removed_one() {
    let (time, store, folder) = (Time::at_noon(), Faulty::on(&Memory::new()), tempfile::tempdir().unwrap());
    let node = time.builder().with_high_water(folder.path().join("high-water")).start(store.clone()).await.unwrap();
    let node = Arc::new(node);
    time.pass(MAX_STALENESS).await;

    // A read that has not found the new key is in flight while the key is added.
    store.set(Reads::Wait);
    time.0.advance(MAX_STALENESS / 2);
    store.waiting.acquire().await.unwrap().forget();
    store.set(Reads::Work);
    let rotating = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.rotate_key(Duration::ZERO).await.unwrap() }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.let_through.add_permits(1);
    rotating.await.unwrap();
    time.pass(MAX_STALENESS * 4).await;
    assert_eq!(ids(&store.memory).await.len(), 2);
}

/// A check may begin while a node is stale, and end when the node has just learned that the key was removed. It must not combine the
/// freshness at the end with the key at the beginning.
#[test]
fn a_node_that_becomes_fresh_during_a_check_does_not_let_it_through() {
    const ROUNDS: usize = 3_000;
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let set = |keys: &[&SigningKey]| KeySet::new(keys.iter().map(|key| key.verifying_key().clone())).unwrap();
    let decoder = Arc::new(Decoder::new(Rules::new(issuer()), set(&[&other])));
    let (clock, freshness) = (ManualClock::at(NOON), Freshness::never());
    freshness.complete_at(clock.moment());
    let verifier = Verifier::new(
        Arc::clone(&decoder),
        Arc::new(Index::new(NOON)),
        freshness.clone(),
        Arc::new(clock.clone()),
        MAX_STALENESS,
        StalePolicy::Reject,
    );
    let lifetime = Duration::from_secs(1_000_000);
    let token = encode(&key, &Claims::new(issuer(), jose(), TokenType::Access, NOON, lifetime)).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checking = (0..2).map(|_| {
            scope.spawn(|| {
                let mut checked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert!(verifier.verify(&token).is_err(), "accepted with a key that was gone when this was fresh");
                    checked += 1;
                }
                checked
            })
        });
        let checking: Vec<_> = checking.collect();
        for _ in 0..ROUNDS {
            // Stale while the key exists, fresh while it does not.
            clock.advance(MAX_STALENESS * 2);
            decoder.replace_keys(set(&[&key, &other]));
            std::thread::sleep(Duration::from_micros(50));
            decoder.replace_keys(set(&[&other]));
            freshness.complete_at(clock.moment());
            if checking.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let checked: usize = checking.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(checked > 100, "only {checked} checks");
    });
}

#[tokio::test]
async fn who_removes_the_key_that_signs_puts_another_in_its_place() {
    let store = Memory::new();
    let first = rotate_key(&store, Some(Algorithm::ES256), NOON, NOON).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let planned = rotate_key(&store, None, NOON, NOON.plus(hour)).await.unwrap();
    assert_eq!(planned.algorithm, Algorithm::ES256);

    // A key that does not sign yet, or no longer signs, needs no successor.
    let removed = remove_key(&store, &planned.id, NOON).await.unwrap().unwrap();
    assert!(removed.successor.is_none());
    let second = rotate_key(&store, None, NOON, NOON.plus(hour)).await.unwrap();
    let later = NOON.plus(hour * 2);
    let removed = remove_key(&store, &first.id, later).await.unwrap().unwrap();
    assert!(removed.successor.is_none());
    assert_eq!(ids(&store).await, std::slice::from_ref(&second.id));

    // The last key signs, whatever the clock says.
    for now in [NOON, later] {
        let only = ids(&store).await.remove(0);
        let removed = remove_key(&store, &only, now).await.unwrap().unwrap();
        let successor = removed.successor.unwrap();
        assert_eq!((successor.algorithm, successor.signs_from), (Algorithm::ES256, now));
        assert_eq!(ids(&store).await, [successor.id]);
    }

    // Before a planned one.
    let signing = ids(&store).await.remove(0);
    let planned = rotate_key(&store, None, later, later.plus(hour)).await.unwrap();
    let removed = remove_key(&store, &signing, later).await.unwrap().unwrap();
    let successor = removed.successor.unwrap().id;
    assert_eq!(ids(&store).await, [successor.clone(), planned.id]);
    assert_eq!(active_key_at(&removed.keys, later).unwrap().id, successor);

    assert!(remove_key(&store, "unknown", later).await.unwrap().is_none());
}

#[tokio::test]
async fn removing_it_twice_at_once_leaves_one_that_signs() {
    let store = Memory::new();
    let first = rotate_key(&store, None, NOON, NOON).await.unwrap();
    let (one, other) = tokio::join!(remove_key(&store, &first.id, NOON), remove_key(&store, &first.id, NOON));
    assert!(one.unwrap().is_some());
    let _too_late_or_as_quick = other.unwrap();
    let left = ids(&store).await;
    assert!(!left.is_empty() && !left.contains(&first.id));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_lost_its_keys_gets_another_and_believes_no_old_one() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let (here, there) = (time.node(&store).await, time.node(&store).await);
    let tokens = log_in(&here).await;
    store.replace_keys(None, ids(&store).await).await.unwrap();
    time.pass(MAX_STALENESS * 2).await;
    assert_eq!(refusal(&here, &tokens.access), Some(TokenError::UnknownKey));
    assert_eq!(ids(&store).await.len(), 1);
    let tokens = log_in(&here).await;
    assert_eq!(refusal(&there, &tokens.access), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_can_not_be_used_makes_a_node_stale_and_not_blind() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let node = time.node(&store).await;
    let tokens = log_in(&node).await;
    let damaged = StoredKey {
        id: "damaged".to_owned(),
        private_key: vec![1, 2, 3].into(),
        ..store.keys().await.unwrap().remove(0)
    };
    store.replace_keys(Some(damaged), vec![]).await.unwrap();
    time.pass(MAX_STALENESS * 2).await;
    assert_eq!(refusal(&node, &tokens.access), Some(TokenError::Stale));
    store.replace_keys(None, vec!["damaged".to_owned()]).await.unwrap();
    time.pass(MAX_STALENESS * 2).await;
    assert_eq!(refusal(&node, &tokens.access), None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_can_not_read_back_what_it_did_says_so() {
    let (time, store) = (Time::at_noon(), Faulty::on(&Memory::new()));
    let node = time.node(&store).await;
    store.set(Reads::Fail);
    assert!(matches!(node.remove_key(&signs(&node)).await, Err(Error::Unavailable(_))));
    assert!(matches!(node.rotate_key(Duration::ZERO).await, Err(Error::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_logged_out_is_still_told_so_and_others_log_in_again() {
    let (time, store) = (Time::at_noon(), Memory::new());
    let node = time.node(&store).await;
    let tokens = log_in(&node).await;
    let next = node.rotate_key(Duration::ZERO).await.unwrap();
    time.pass(MAX_STALENESS).await;
    let later = node.sessions().log_in(Subject::new("anna").unwrap()).await;
    let later = later.unwrap();
    assert_eq!(key_of(&later.access), next.id);

    node.remove_key(&key_of(&tokens.access)).await.unwrap().unwrap();
    assert!(matches!(refresh(&node, &tokens.refresh).await, Err(SessionError::InvalidToken(TokenError::UnknownKey))));
    assert!(refresh(&node, &later.refresh).await.is_ok());
}
