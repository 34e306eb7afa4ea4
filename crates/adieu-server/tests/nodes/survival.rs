//! Killing a node loses nothing that was acknowledged.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use test_servers::adieu::Tokens;
use tokio::sync::RwLock;

use crate::three_nodes::nodes;

const KILLS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_every_node() {
    let nodes: Arc<Vec<_>> = Arc::new(nodes(3, &[]).await.into_iter().map(RwLock::new).collect());
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let note = |list: &Mutex<Vec<String>>, token| list.lock().unwrap_or_else(PoisonError::into_inner).push(token);
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..4_usize {
        let (nodes, acknowledged, kept) = (Arc::clone(&nodes), Arc::clone(&acknowledged), Arc::clone(&kept));
        load.spawn(async move {
            for turn in worker.. {
                let node = nodes[turn % 3].read().await;
                let Some(Ok(Tokens { access, .. })) = node.try_log_in("jose").await else { continue };
                drop(node);
                if turn % 5 == 0 {
                    note(&kept, access);
                    continue;
                }
                // Ended at a different node from the one where it began.
                let node = nodes[(turn + 1) % 3].read().await;
                if let Some((200, _)) = node.try_ask(Method::POST, "/logout", Some(&access), None).await {
                    note(&acknowledged, access);
                }
            }
        });
    }
    for kill in 0..KILLS {
        tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(50..400))).await;
        // Requests go on while it dies; the lock is needed only to start it again.
        nodes[kill % 3].read().await.kill();
        nodes[kill % 3].write().await.start_again(|_| ()).await;
    }
    load.abort_all();
    while load.join_next().await.is_some() {}

    let (acknowledged, kept) = (acknowledged.lock().unwrap().clone(), kept.lock().unwrap().clone());
    println!("{KILLS} kills: {} acknowledged logouts, {} sessions left", acknowledged.len(), kept.len());
    assert!(acknowledged.len() > KILLS && !kept.is_empty());
    for node in nodes.iter() {
        let node = node.read().await;
        for token in &acknowledged {
            assert_eq!(node.verify(token).await, (401, "token_revoked".to_owned()));
        }
        for token in &kept {
            assert_eq!(node.verify(token).await.0, 204);
        }
    }
}
