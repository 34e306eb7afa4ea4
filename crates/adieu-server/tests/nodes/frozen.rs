//! A node is frozen for longer than the others remember it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::three_nodes::{BOUND, nodes};

/// Longer than it takes to forget a silent node: a minute, its bound, and a few polls.
const FORGOTTEN: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_goes_on_it_accepts_nothing_that_it_does_not_know() {
    let nodes = nodes(2, &[]).await;
    let [here, frozen] = &nodes[..] else { panic!() };
    tokio::time::sleep(BOUND).await;
    let (first, last, live) = (here.log_in("jose").await, here.log_in("jose").await, here.log_in("jose").await);
    for token in [&first, &last, &live] {
        assert_eq!(frozen.verify(token).await.0, 204);
    }
    frozen.freeze();
    let frozen_at = Instant::now();
    let (everywhere, _) = here.log_out_everywhere(&first).await;
    assert_eq!(everywhere, json!({ "acknowledged": 0, "waited_out": 1, "unbounded": 0 }), "it is waited for");
    loop {
        let (everywhere, _) = here.log_out_everywhere(&here.log_in("jose").await).await;
        if everywhere == json!({ "acknowledged": 0, "waited_out": 0, "unbounded": 0 }) {
            break;
        }
        assert!(frozen_at.elapsed() < FORGOTTEN, "it is never forgotten: {everywhere}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("forgotten after {:?}", frozen_at.elapsed());
    // No other node waits for it any more, so it must not accept this token, whatever it does first.
    let (everywhere, _) = here.log_out_everywhere(&last).await;
    assert_eq!(everywhere, json!({ "acknowledged": 0, "waited_out": 0, "unbounded": 0 }));
    frozen.thaw();
    let thawed_at = Instant::now();
    while frozen.verify(&live).await.0 != 204 {
        for token in [&first, &last] {
            assert_ne!(frozen.verify(token).await.0, 204, "{:?} after it went on", thawed_at.elapsed());
        }
    }
    for token in [&first, &last] {
        assert_eq!(frozen.verify(token).await, (401, "token_revoked".to_owned()));
    }
    // The others know it again, and wait for it.
    let (everywhere, _) = here.log_out_everywhere(&live).await;
    assert_eq!(everywhere, json!({ "acknowledged": 1, "waited_out": 0, "unbounded": 0 }));
    assert_eq!(frozen.verify(&live).await, (401, "token_revoked".to_owned()));
}
