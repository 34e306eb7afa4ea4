//! Deliveries.

use std::time::Duration;

use adieu::time::Timestamp;
use adieu_server::deliveries::{Delivery, DeliveryStore, Holder};

use crate::Place;

every_engine! {
    one_node_at_a_time_holds_a_receiver
    a_node_whose_clock_was_ahead_holds_no_receiver_for_long
    only_the_message_that_blocks_a_receiver_is_skipped
}

/// Lets a node claim the receiver `shop` for half a minute. Returns the cursor after which it delivers.
async fn claim(store: &impl DeliveryStore, node: &str, now: u64) -> Option<String> {
    let now = Timestamp::from_unix(now);
    let holder = Holder { id: node.to_owned(), until: now.plus(Duration::from_secs(30)) };
    let claimed = store.claim("shop", &holder, now, &"log.7".parse().unwrap()).await.unwrap();
    claimed.map(|delivery| delivery.cursor.map(|cursor| cursor.to_string()).unwrap_or_default())
}

async fn one_node_at_a_time_holds_a_receiver<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let at = async |node, now| claim(&store, node, now).await;
    assert_eq!(at("a", 1000).await.as_deref(), Some("log.7"));
    assert_eq!((at("b", 1001).await, at("b", 1029).await), (None, None));
    assert_eq!(at("a", 1029).await.as_deref(), Some("log.7"), "it goes on");
    assert_eq!(at("b", 1058).await, None);
    assert_eq!(at("b", 1059).await.as_deref(), Some("log.7"), "it has not gone on");
    assert_eq!(at("a", 1060).await, None);
    store.release("b").await.unwrap();
    assert_eq!(at("a", 1060).await.as_deref(), Some("log.7"));
    assert!(store.replay("shop").await.unwrap() && !store.replay("cart").await.unwrap());
    let [delivery] = store.deliveries().await.unwrap().try_into().unwrap();
    let holder = Holder { id: "a".to_owned(), until: Timestamp::from_unix(1090) };
    assert!(!store.record(&delivery, &holder).await.unwrap(), "the claim ended");
    assert_eq!(at("a", 1061).await.as_deref(), Some(""), "the beginning of the log");
}

async fn a_node_whose_clock_was_ahead_holds_no_receiver_for_long<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    let at = async |node, now| claim(&store, node, now).await.is_some();
    assert!(at("a", 1030).await);
    assert!(!at("b", 1000).await, "clocks may differ by half a minute");
    // A year ahead; then it stops, and comes back with another id.
    assert!(at("a", 31_536_000).await);
    assert!(at("b", 1000).await);
    assert!(!at("a", 1001).await && at("a", 1030).await);
}

async fn only_the_message_that_blocks_a_receiver_is_skipped<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    claim(&store, "a", 1000).await.unwrap();
    assert!(!store.skip("shop", "").await.unwrap(), "nothing blocks it");
    let [delivery] = store.deliveries().await.unwrap().try_into().unwrap();
    let (id, since) = (Some("msg_1".to_owned()), Some(Timestamp::from_unix(1001)));
    let failed = Delivery {
        failures: 3,
        failing_since: since,
        error: Some("status 422".to_owned()),
        message_id: id.clone(),
        next_attempt_at: since,
        ..delivery.clone()
    };
    let holder = Holder { id: "a".to_owned(), until: Timestamp::from_unix(1030) };
    assert!(store.record(&failed, &holder).await.unwrap());
    assert_eq!(store.deliveries().await.unwrap(), std::slice::from_ref(&failed));
    assert!(!store.skip("shop", "msg_2").await.unwrap() && !store.skip("cart", "msg_1").await.unwrap());
    assert!(!store.skip("sh\0p", "msg_1").await.unwrap() && !store.skip("shop", "msg\0").await.unwrap());
    assert!(!store.replay("sh\0p").await.unwrap());
    assert_eq!(store.deliveries().await.unwrap(), std::slice::from_ref(&failed));
    assert!(store.skip("shop", "msg_1").await.unwrap());
    assert!(!store.skip("shop", "msg_1").await.unwrap(), "twice");
    let error = Some("status 422, skipped".to_owned());
    assert_eq!(store.deliveries().await.unwrap(), [Delivery { delivered: id, error, ..delivery }]);
    assert!(!store.record(&failed, &holder).await.unwrap(), "the claim ended");
    assert!(claim(&store, "b", 1002).await.is_some());
}
