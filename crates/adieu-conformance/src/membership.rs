//! The guarantees of every [`Membership`].

use std::time::Duration;

use adieu::{
    revocation::{Cursor, LogId, Position},
    store::{Membership, NodeStatus},
};

use super::Storage;

#[macro_export]
#[doc(hidden)]
macro_rules! __conformance_membership {
    () => {
        $crate::__conformance_tests! { membership:
            what_a_node_says_takes_the_place_of_what_it_said
            a_node_is_suspected_until_it_says_something
            a_bound_is_kept_in_full
        }
    };
}

fn standing(node: &str) -> NodeStatus {
    NodeStatus {
        node: node.to_owned(),
        heartbeat: 1,
        applied: None,
        followers: 0,
        unbounded: 0,
        max_staleness: Duration::from_millis(1_500),
    }
}

/// A node's new status replaces its previous one, for every node.
pub async fn what_a_node_says_takes_the_place_of_what_it_said<P: Storage<Store: Membership>>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    assert_eq!(here.members().await.unwrap().nodes, []);
    here.publish(&standing("a")).await.unwrap();
    there.publish(&standing("b")).await.unwrap();
    let settled = Some(Cursor { log: LogId::new("log").unwrap(), position: Position::new(7) });
    let later = NodeStatus { heartbeat: 2, applied: settled, followers: 3, unbounded: 1, ..standing("a") };
    here.publish(&later).await.unwrap();
    assert_eq!(there.members().await.unwrap().nodes, [later.clone(), standing("b")]);

    // A node that has published a status in the meantime stays.
    there.forget("a", 1).await.unwrap();
    assert_eq!(here.members().await.unwrap().nodes.len(), 2);
    there.forget("a", 2).await.unwrap();
    there.forget("unknown", 0).await.unwrap();
    assert_eq!(here.members().await.unwrap().nodes, [standing("b")]);
    // The node was only slow.
    here.publish(&NodeStatus { heartbeat: 3, ..later.clone() }).await.unwrap();
    assert_eq!(there.members().await.unwrap().nodes, [NodeStatus { heartbeat: 3, ..later }, standing("b")]);
}

/// A suspected node stays a member until it is forgotten, and publishes a status again if it was only slow.
pub async fn a_node_is_suspected_until_it_says_something<P: Storage<Store: Membership>>() {
    let place = P::empty().await;
    let (here, there) = (place.open().await, place.open().await);
    let beat_of = async || {
        there.members().await.unwrap().nodes.into_iter().find(|one| one.node == "silent").map(|one| one.heartbeat)
    };
    let silent = NodeStatus { heartbeat: 7, followers: 3, ..standing("silent") };
    here.publish(&silent).await.unwrap();
    there.suspect("silent", 6).await.unwrap();
    assert_eq!(beat_of().await, Some(7), "it has said something since");
    there.suspect("silent", 7).await.unwrap();
    there.suspect("unknown", 0).await.unwrap();
    let suspected = there.members().await.unwrap().nodes.into_iter().find(|one| one.node == "silent");
    assert_eq!(suspected, Some(NodeStatus { heartbeat: 0, ..silent.clone() }));

    here.publish(&NodeStatus { heartbeat: 8, ..silent }).await.unwrap();
    there.forget("silent", 0).await.unwrap();
    assert_eq!(beat_of().await, Some(8), "it was only slow");
    there.suspect("silent", 8).await.unwrap();
    there.forget("silent", 0).await.unwrap();
    assert_eq!(beat_of().await, None);
}

/// A bound that is not a whole number of milliseconds is rounded up.
pub async fn a_bound_is_kept_in_full<P: Storage<Store: Membership>>() {
    let place = P::empty().await;
    let here = place.open().await;
    let fraction = NodeStatus { max_staleness: Duration::from_micros(1_500_001), ..standing("fraction") };
    here.publish(&fraction).await.unwrap();
    let kept = here.members().await.unwrap().nodes.into_iter().find(|member| member.node == "fraction").unwrap();
    // If others waited for too short a time, the node would still accept.
    assert!(kept.max_staleness >= fraction.max_staleness, "{:?}", kept.max_staleness);
    here.forget("fraction", 1).await.unwrap();
}
