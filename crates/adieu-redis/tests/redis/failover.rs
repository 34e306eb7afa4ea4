//! A replica takes over, with everything that was acknowledged or without the last writes.

use std::path::Path;

use adieu::{Node, revocation::RevokedBy, token::TokenError};
use adieu_redis::Redis;
use test_servers::{
    Redis as Server, RedisEngine, recovers,
    story::{self, log_in, log_in_times, log_out, log_out_each, refresh, refusal, try_log_in},
    until,
};

async fn start(server: &Server, mark: Option<&Path>) -> Node {
    story::start(Redis::connect(&server.url()).await.unwrap(), mark).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_had_not_got_is_noticed_and_everything_from_before_is_refused() {
    for stays_up in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut primary = Server::start().await;
        let node = start(&primary, Some(&mark)).await;
        let tokens = log_in_times(&node, 8).await;
        let (before, rest) = tokens.split_at(3);
        let (lost, rest) = rest.split_at(1);
        let (after, stays) = rest.split_at(2);
        log_out_each(&node, before).await;
        let mut replica = primary.standby().await;
        replica.cut_off().await;
        log_out_each(&node, lost).await;

        let node = match stays_up {
            true => {
                primary.fail_over_to(replica).await;
                node
            }
            false => {
                drop(node);
                primary.fail_over_to(replica).await;
                start(&primary, Some(&mark)).await
            }
        };
        // New entries reuse the position of the lost one.
        log_out_each(&node, after).await;
        until("it is noticed", async || node.restored_at().is_some()).await;
        let late = start(&primary, None).await;
        for node in [&node, &late] {
            until("it has read that", async || refusal(node, &stays[0]).is_some_and(|why| why != TokenError::Stale))
                .await;
            for tokens in &tokens {
                assert!(matches!(refusal(node, tokens), Some(TokenError::Revoked(_))), "{stays_up}");
                assert!(!refresh(node, tokens).await);
            }
            assert_eq!(refusal(node, &stays[0]), Some(TokenError::Revoked(RevokedBy::Everything)));
        }
        let new = log_in(&node).await;
        assert!(refusal(&node, &new).is_none() && refresh(&node, &new).await);
        drop(node);
        let node = start(&primary, Some(&mark)).await;
        assert!(refusal(&node, &new).is_none(), "noticed once, not at each start");
        assert!(node.accept_restore().await.unwrap().is_some() && node.accept_restore().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_nothing_lost_nobody_is_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut primary = Server::start().await;
    let node = start(&primary, Some(&mark)).await;
    let (left, stays) = (log_in(&node).await, log_in(&node).await);
    log_out(&node, &left).await;
    let mut replica = primary.standby().await;
    replica.cut_off().await;
    primary.fail_over_to(replica).await;
    let also = recovers(async || try_log_in(&node).await).await;
    log_out(&node, &also).await;
    let late = start(&primary, Some(&mark)).await;
    for node in [&node, &late] {
        until("it is fresh again", async || refusal(node, &stays) != Some(TokenError::Stale)).await;
        assert_eq!((node.restored_at(), refusal(node, &stays)), (None, None));
        assert!(refusal(node, &left).is_some() && refusal(node, &also).is_some());
    }
    assert!(refresh(&late, &stays).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_look_after_it_notices_whichever_it_is() {
    story::a_takeover_with_a_loss_is_noticed::<RedisEngine, _>(async |url| Redis::connect(&url).await.unwrap()).await;
}
