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
    assert_eq!(here.members().await.unwrap(), []);
    here.tell(&standing("a")).await.unwrap();
    there.tell(&standing("b")).await.unwrap();
    let settled = Some(Cursor { log: LogId::new("log").unwrap(), position: Position::new(7) });
    let later = Standing { beat: 2, settled, followers: 3, unbounded: 1, ..standing("a") };
    here.tell(&later).await.unwrap();
    assert_eq!(there.members().await.unwrap(), [later.clone(), standing("b")]);

    // Whoever has said something meanwhile stays.
    there.forget("a", 1).await.unwrap();
    assert_eq!(here.members().await.unwrap().len(), 2);
    there.forget("a", 2).await.unwrap();
    there.forget("nobody", 0).await.unwrap();
    assert_eq!(here.members().await.unwrap(), [standing("b")]);
    // It was only slow.
    here.tell(&Standing { beat: 3, ..later.clone() }).await.unwrap();
    assert_eq!(there.members().await.unwrap(), [Standing { beat: 3, ..later }, standing("b")]);
}

#[tokio::test]
async fn in_postgres() {
    let url = test_servers::postgres_database().await;
    let (here, there) = (Postgres::connect(&url).await.unwrap(), Postgres::connect(&url).await.unwrap());
    what_a_node_says_takes_the_place_of_what_it_said(&here, &there).await;
}

#[tokio::test]
async fn in_redis() {
    let url = test_servers::redis_database().await;
    let (here, there) = (Redis::connect(&url).await.unwrap(), Redis::connect(&url).await.unwrap());
    what_a_node_says_takes_the_place_of_what_it_said(&here, &there).await;
}
