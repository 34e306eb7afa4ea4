//! What nodes of one store tell each other.

use std::time::Duration;

use adieu::{
    revocation::{Cursor, LogId, Position},
    store::{Membership, Postgres, Redis, Standing},
};

fn standing(node: &str) -> Standing {
    Standing {
        node: node.to_owned(),
        beat: 1,
        settled: None,
        followers: 0,
        unbounded: 0,
        max_staleness: Duration::from_millis(1_500),
    }
}

async fn what_a_node_says_takes_the_place_of_what_it_said(here: &impl Membership, there: &impl Membership) {
    assert_eq!(here.members().await.unwrap().nodes, []);
    here.tell(&standing("a")).await.unwrap();
    there.tell(&standing("b")).await.unwrap();
    let settled = Some(Cursor { log: LogId::new("log").unwrap(), position: Position::new(7) });
    let later = Standing { beat: 2, settled, followers: 3, unbounded: 1, ..standing("a") };
    here.tell(&later).await.unwrap();
    assert_eq!(there.members().await.unwrap().nodes, [later.clone(), standing("b")]);

    // Whoever has said something meanwhile stays.
    there.forget("a", 1).await.unwrap();
    assert_eq!(here.members().await.unwrap().nodes.len(), 2);
    there.forget("a", 2).await.unwrap();
    there.forget("nobody", 0).await.unwrap();
    assert_eq!(here.members().await.unwrap().nodes, [standing("b")]);
    // It was only slow.
    here.tell(&Standing { beat: 3, ..later.clone() }).await.unwrap();
    assert_eq!(there.members().await.unwrap().nodes, [Standing { beat: 3, ..later }, standing("b")]);
}

async fn a_node_is_suspected_until_it_says_something(here: &impl Membership, there: &impl Membership) {
    let beat_of =
        async || there.members().await.unwrap().nodes.into_iter().find(|one| one.node == "silent").map(|one| one.beat);
    let silent = Standing { beat: 7, followers: 3, ..standing("silent") };
    here.tell(&silent).await.unwrap();
    there.suspect("silent", 6).await.unwrap();
    assert_eq!(beat_of().await, Some(7), "it has said something since");
    there.suspect("silent", 7).await.unwrap();
    there.suspect("nobody", 0).await.unwrap();
    let suspected = there.members().await.unwrap().nodes.into_iter().find(|one| one.node == "silent");
    assert_eq!(suspected, Some(Standing { beat: 0, ..silent.clone() }));

    here.tell(&Standing { beat: 8, ..silent }).await.unwrap();
    there.forget("silent", 0).await.unwrap();
    assert_eq!(beat_of().await, Some(8), "it was only slow");
    there.suspect("silent", 8).await.unwrap();
    there.forget("silent", 0).await.unwrap();
    assert_eq!(beat_of().await, None);
}

async fn a_bound_is_kept_in_full(here: &impl Membership) {
    let fraction = Standing { max_staleness: Duration::from_micros(1_500_001), ..standing("fraction") };
    here.tell(&fraction).await.unwrap();
    let kept = here.members().await.unwrap().nodes.into_iter().find(|member| member.node == "fraction").unwrap();
    // Waited for too short a time, it would still accept.
    assert!(kept.max_staleness >= fraction.max_staleness, "{:?}", kept.max_staleness);
    here.forget("fraction", 1).await.unwrap();
}

#[tokio::test]
async fn in_postgres() {
    let url = test_servers::postgres_database().await;
    let (here, there) = (Postgres::connect(&url).await.unwrap(), Postgres::connect(&url).await.unwrap());
    what_a_node_says_takes_the_place_of_what_it_said(&here, &there).await;
    a_bound_is_kept_in_full(&here).await;
    a_node_is_suspected_until_it_says_something(&here, &there).await;
}

#[tokio::test]
async fn in_redis() {
    let url = test_servers::redis_database().await;
    let (here, there) = (Redis::connect(&url).await.unwrap(), Redis::connect(&url).await.unwrap());
    what_a_node_says_takes_the_place_of_what_it_said(&here, &there).await;
    a_bound_is_kept_in_full(&here).await;
    a_node_is_suspected_until_it_says_something(&here, &there).await;
}
