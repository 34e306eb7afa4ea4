//! Nothing undoes a revocation: not a refresh in flight, not a second revocation, not a restart, not a clock that goes back.

use std::{sync::Arc, time::Duration};

use adieu::{
    revocation::{Revocation, RevokedBy, Target},
    run_maintenance,
    session::{RevocationTarget, Scope},
    store::Memory,
    time::{Clock, Timestamp},
    token::TokenError,
};
use adieu_sqlite::Sqlite;
use tokio::sync::Barrier;

use crate::support::{NOON, Node, Setup, issuer, jose};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_that_races_a_logout_leaves_no_live_token() {
    const ROUNDS: usize = 3_000;
    const MAX_ROUNDS: usize = 300_000;
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    let node = Arc::new(Node::on(store, Setup::default()).await);
    let (mut refreshed, mut refused) = (0, 0);
    for round in 0..MAX_ROUNDS {
        // On a busy machine, one of the two may come first for a long time.
        if round >= ROUNDS && refreshed > 0 && refused > 0 {
            break;
        }
        let tokens = node.log_in(jose()).await;
        let start = Arc::new(Barrier::new(2));
        let refresh = tokio::spawn({
            let (node, start, token) = (Arc::clone(&node), Arc::clone(&start), tokens.refresh.clone());
            async move {
                start.wait().await;
                node.refresh(&token).await
            }
        });
        start.wait().await;
        // The scheduler decides which comes first; the delays make sure that both orders happen.
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();
        assert!(node.refusal(&tokens.access).is_some());
        match refresh.await.unwrap() {
            Ok(minted) => {
                refreshed += 1;
                assert_eq!(node.refusal(&minted.access), Some(TokenError::Revoked(RevokedBy::Session)));
                assert!(node.refresh(&minted.refresh).await.is_err());
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refreshed > 0, "the refresh never came first");
    assert!(refused > 0, "the logout never came first");
    assert_eq!(node.store.sessions(None, 10).await.unwrap(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_does_one_that_races_the_end_of_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    let node = Arc::new(Node::on(store, Setup::default()).await);
    for _ in 0..200 {
        let tokens = node.log_in(jose()).await;
        let refresh = tokio::spawn({
            let (node, token) = (Arc::clone(&node), tokens.refresh.clone());
            async move {
                // Time advances while the other call is in flight: a token with a later second than the cut-off.
                node.clock.advance(Duration::from_secs(1));
                node.refresh(&token).await
            }
        });
        // The call does not wait until the second of the cut-off is over.
        node.sessions.revoke(vec![RevocationTarget::Everything.into()]).await.unwrap();
        let ended_first = node.store.sessions(None, 1).await.unwrap().is_empty();
        assert!(ended_first);
        if let Ok(minted) = refresh.await.unwrap() {
            assert!(node.refusal(&minted.access).is_some());
        }
        node.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_second_answer_to_a_refresh_is_no_later_than_the_first() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(5));
    node.catch_up().await;
    let again = node.refresh(&first.refresh).await.unwrap();
    // A cut-off in a second before the second response, as a clock that is set back produces.
    node.clock.set_wall(NOON);
    node.sessions.revoke_everything().await.unwrap();
    node.clock.set_wall(NOON.plus(Duration::from_secs(10)));
    assert_eq!(node.refusal(&again.access), Some(TokenError::Revoked(RevokedBy::Everything)));
}

#[tokio::test]
async fn a_token_from_a_node_whose_clock_is_ahead_ends_with_everything() {
    let store = Memory::new();
    let (ahead, behind) = (Node::on(store.clone(), Setup::ahead(2)).await, Node::on(store, Setup::default()).await);
    let tokens = ahead.log_in(jose()).await;
    let stolen = ahead.refresh(&tokens.refresh).await.unwrap();
    behind.catch_up().await;
    // The row now has the earlier time.
    behind.refresh(&stolen.refresh).await.unwrap();
    behind.sessions.revoke(vec![RevocationTarget::Everything.into()]).await.unwrap();
    for node in [&ahead, &behind] {
        node.clock.advance(Duration::from_secs(5));
        node.catch_up().await;
        assert!(matches!(node.refusal(&stolen.access), Some(TokenError::Revoked(_))));
    }
}

/// The row keeps the later time, and what is issued is good at once all the same.
#[tokio::test]
async fn a_refresh_after_the_clock_was_set_back_gives_a_good_token() {
    for back in [1, 3] {
        let node = Node::start().await;
        let tokens = node.log_in(jose()).await;
        node.clock.set_wall(NOON.minus(Duration::from_secs(back)));
        let next = node.refresh(&tokens.refresh).await.unwrap();
        assert_eq!(node.refusal(&next.access), None, "{back} s");
        let last = node.refresh(&next.refresh).await.unwrap();
        assert_eq!(node.refusal(&last.access), None, "{back} s");
    }
}

#[tokio::test]
async fn an_earlier_cut_off_does_not_weaken_a_later_one() {
    let node = Node::start().await;
    let tokens = node.log_in(jose()).await;
    let cut_off = |issued_until: Timestamp| Revocation {
        issuer: issuer(),
        target: Target::Subject { id: jose(), issued_until },
        lapses_at: Revocation::lapse_for(NOON.plus(Duration::from_secs(900))),
    };
    node.sessions.append(vec![cut_off(NOON)]).await.unwrap();
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Subject)));
    node.sessions.append(vec![cut_off(NOON.minus(Duration::from_secs(60)))]).await.unwrap();
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Subject)));
}

#[tokio::test]
async fn a_clock_that_goes_back_revives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let node = Node::on_file(&file, Setup::default()).await;
    let tokens = node.log_in(jose()).await;
    node.sessions.log_out(&tokens.access, Scope::This).await.unwrap();
    node.clock.advance(Duration::from_secs(60 * 60));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    assert_eq!(node.index.stats().entries, 0);

    node.clock.set_wall(NOON);
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Expired));

    // Nor on a node that starts with the wrong time and has never known the revocation.
    let node = Node::on_file(&file, Setup::default()).await;
    assert_eq!(node.clock.now(), NOON);
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Expired));
}

#[tokio::test]
async fn a_cut_off_is_over_when_it_is_answered() {
    let issuer = issuer();
    let node = adieu::Node::builder(issuer.clone()).start(adieu::store::Memory::new()).await.unwrap();
    let facts = |issued_at| adieu::revocation::TokenFacts {
        issuer: issuer.as_str(),
        token_id: "new",
        session: None,
        subject: "jose",
        issued_at: Some(issued_at),
        expires_at: node.clock().now().plus(Duration::from_secs(600)),
        key_id: None,
        claims: None,
    };
    let before = node.clock().now();
    for round in 0..4 {
        match round {
            0 => node.sessions().revoke_everything().await.unwrap(),
            _ => node.sessions().revoke_subject(jose()).await.unwrap(),
        };
        // By another node, which has not read it yet.
        assert_eq!(node.verifier().index().check(&facts(node.clock().now())), None, "round {round}");
        assert!(node.verifier().index().check(&facts(before)).is_some());
    }
}

#[tokio::test]
async fn a_login_does_not_inherit_a_cut_off() {
    let node = Arc::new(Node::start().await);
    node.sessions.revoke_subject(jose()).await.unwrap();
    // In the same second: the login waits for the next.
    let login = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.log_in(jose()).await }
    });
    tokio::task::yield_now().await;
    assert!(!login.is_finished());
    node.clock.advance(Duration::from_secs(1));
    let tokens = login.await.unwrap();
    node.catch_up().await;
    assert_eq!(node.refusal(&tokens.access), None);
}
