//! A standby takes over, with everything that was acknowledged or without the last writes.

use std::path::Path;

use adieu::{Node, revocation::RevokedBy, token::TokenError};
use adieu_postgres::Postgres;
use test_servers::{
    Postgres as Server, PostgresEngine,
    story::{self, is_revoked, log_in, log_in_times, log_out_each, refresh, refusal},
    until,
};

async fn start(server: &Server, mark: Option<&Path>) -> Node {
    story::start(Postgres::connect(&server.url()).await.unwrap(), mark).await
}

/// New entries reuse the positions of the lost ones. A reader that has read further than the standby must not continue from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_after_it_reaches_whoever_had_read_further() {
    for has_mark in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut primary = Server::start().await;
        let node = start(&primary, has_mark.then_some(&mark)).await;
        // A follower that knows only what it reads.
        let follower = start(&primary, None).await;
        let tokens = log_in_times(&node, 12).await;
        let (before, rest) = tokens.split_at(5);
        let (lost, rest) = rest.split_at(2);
        let (after, stays) = rest.split_at(4);
        log_out_each(&node, before).await;
        let mut standby = primary.standby().await;
        standby.cut_off().await;
        log_out_each(&node, lost).await;
        until("the follower has read them", async || lost.iter().all(|tokens| is_revoked(&follower, tokens))).await;

        primary.fail_over_to(standby).await;
        log_out_each(&node, after).await;
        let is_known = async || after.iter().all(|tokens| is_revoked(&follower, tokens));
        until("the follower refuses what was revoked after the failover", is_known).await;
        for tokens in before.iter().chain(lost).chain(after) {
            assert!(is_revoked(&node, tokens) && is_revoked(&follower, tokens));
        }

        if has_mark {
            // The mark shows the loss, so everything from before is rejected, also by a node that starts now.
            until("the node notices", async || node.restored_at().is_some()).await;
            let late = start(&primary, None).await;
            for tokens in lost.iter().chain(stays) {
                assert_eq!(refusal(&late, tokens), Some(TokenError::Revoked(RevokedBy::Everything)));
            }
            let new = log_in(&node).await;
            assert_eq!((refusal(&node, &new), refusal(&late, &new)), (None, None));
        }
    }
}

/// Commits wait for the standby, so it has everything that was acknowledged: no user has to log in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_lost_nobody_is_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut primary = Server::start().await;
    let node = start(&primary, Some(&mark)).await;
    let follower = start(&primary, None).await;
    let standby = primary.standby().await;
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    primary.sql("SELECT pg_reload_conf()").await;
    let tokens = log_in_times(&node, 8).await;
    let (before, rest) = tokens.split_at(4);
    let (after, stay) = rest.split_at(2);
    log_out_each(&node, before).await;

    primary.fail_over_to(standby).await;
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    primary.sql("SELECT pg_reload_conf()").await;
    log_out_each(&node, after).await;
    let late = start(&primary, Some(&mark)).await;
    for node in [&node, &follower, &late] {
        until("it is refused", async || before.iter().chain(after).all(|tokens| is_revoked(node, tokens))).await;
        until("and the rest is good", async || stay.iter().all(|tokens| refusal(node, tokens).is_none())).await;
        assert_eq!(node.restored_at(), None);
    }
    for tokens in stay {
        assert!(refresh(&late, tokens).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_look_after_it_notices_whichever_it_is() {
    story::a_takeover_with_a_loss_is_noticed::<PostgresEngine, _>(async |url| Postgres::connect(&url).await.unwrap())
        .await;
}
