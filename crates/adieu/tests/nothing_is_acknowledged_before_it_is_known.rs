//! A node that acknowledges a revocation rejects its token. A request for later entries is not an acknowledgement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use adieu::{
    Error, Issuer, TokenId,
    revocation::{
        Cursor, Follower, Index, LogId, Page, Position, Pruned, Revocation, RevocationLog, Target, TokenFacts,
    },
    time::{Clock, ManualClock, Timestamp},
};
use async_trait::async_trait;

const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);
const ENTRIES: u64 = 20;

/// A log of tokens named after their positions, one per page.
struct Numbered {
    id: LogId,
    index: Arc<Index>,
    acknowledged: Mutex<Vec<u64>>,
}

impl Numbered {
    fn is_known(&self, number: u64) -> bool {
        let id = format!("token-{number}");
        let facts = TokenFacts {
            issuer: "adieu",
            token_id: &id,
            session: None,
            subject: "jose",
            issued_at: Some(NOON),
            expires_at: NOON.plus(Duration::from_secs(900)),
            key_id: None,
            claims: None,
        };
        self.index.check(&facts).is_some()
    }
}

#[async_trait]
impl RevocationLog for Numbered {
    async fn append(&self, _: Vec<Revocation>) -> Result<Position, Error> {
        unreachable!("this test appends nothing")
    }

    async fn read(&self, after: Option<&Cursor>, wait: Duration) -> Result<Page, Error> {
        let last = after.map_or(0, |cursor| cursor.position.get());
        if last == ENTRIES {
            tokio::time::sleep(wait).await;
        }
        let number = (last + 1).min(ENTRIES);
        let expires_at = NOON.plus(Duration::from_secs(900));
        let target =
            Target::Token { id: TokenId::new(format!("token-{number}")).unwrap(), expires_at: Some(expires_at) };
        Ok(Page {
            entries: vec![Revocation {
                issuer: Issuer::new("adieu").unwrap(),
                target,
                lapses_at: Revocation::lapse_for(expires_at),
            }],
            cursor: Cursor { log: self.id.clone(), position: Position::new(number) },
            complete: number == ENTRIES,
            from_start: after.is_none(),
            age: Duration::ZERO,
            pruned_through: Timestamp::ZERO,
        })
    }

    async fn prune(&self, _: Timestamp) -> Result<Pruned, Error> {
        Ok(Pruned { removed: 0, complete: true })
    }

    fn acknowledge(&self, cursor: &Cursor) {
        let position = cursor.position.get();
        for number in 1..=position {
            assert!(self.is_known(number), "{number} is not known when {position} is acknowledged");
        }
        self.acknowledged.lock().unwrap().push(position);
    }
}

#[tokio::test(start_paused = true)]
async fn each_page_is_acknowledged_once_it_is_in_the_index() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOON));
    let index = Arc::new(Index::new(NOON));
    let log = Arc::new(Numbered { id: LogId::random(), index: Arc::clone(&index), acknowledged: Mutex::default() });
    let follower = Follower::start(log.clone(), index, clock, Duration::from_secs(2));
    follower.ready().await.unwrap();

    let acknowledged = log.acknowledged.lock().unwrap().clone();
    assert_eq!(acknowledged, (1..=ENTRIES).collect::<Vec<_>>());
}
