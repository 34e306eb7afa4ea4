//! Readers that follow while others append.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use super::{LONG, assert_later, once, token, tokens, whole};
use crate::{Storage, open};
use adieu::{
    Error,
    revocation::{Cursor, Position, Revocation, RevocationLog},
};

/// Follows from the beginning, with this wait per read, until everything has been appended, and then to the end. Returns the
/// entries that it has read.
fn follow<P: Storage<Store: RevocationLog>>(
    log: Arc<P::Store>,
    mut done: Done,
    wait: Duration,
) -> JoinHandle<Vec<Revocation>> {
    tokio::spawn(async move {
        let (mut seen, mut cursor) = (Vec::new(), None::<Cursor>);
        loop {
            let page = tokio::select! {
                page = log.read(cursor.as_ref(), wait) => page,
                _ = done.wait_for(|done| *done) => break,
            };
            // On a busy machine an engine may report that it cannot answer now: retry.
            let Ok(page) = page else { continue };
            assert_eq!(page.from_start, cursor.is_none(), "it is one log all the time");
            if let Some(cursor) = &cursor {
                assert!(page.cursor.position >= cursor.position, "a cursor never goes back");
                assert!(page.entries.is_empty() || page.cursor.position > cursor.position);
            }
            seen.extend(page.entries);
            cursor = Some(page.cursor);
        }
        seen.extend(whole::<P>(&*log, cursor.as_ref()).await.entries);
        once::<P>(&[], seen)
    })
}

/// Whether everything has been appended.
type Done = watch::Receiver<bool>;

/// An entry that appears behind a reader's cursor is lost to that reader: a revoked token stays valid. A plain sequence has
/// this fault, since its numbers are assigned before the transactions commit, in another order.
///
/// Six processes append, in transactions of very different length; two of them and two others follow with cursors. Each must
/// see every entry exactly once, in the order of a final read from the beginning.
pub async fn readers_see_no_gaps_while_many_append<P: Storage<Store: RevocationLog>>() {
    const WRITERS: u64 = 6;
    /// The numbers of facts in a writer's appends. No two neighbours are equal, so that short transactions run during long
    /// ones.
    const LENGTHS: [u64; 10] = [1, 2, 200, 1, 40, 1, 1, 400, 3, 20];
    const ROUNDS: u64 = 1;
    let facts_of_a_writer = ROUNDS * LENGTHS.iter().sum::<u64>();
    let expected = usize::try_from(WRITERS * facts_of_a_writer).unwrap();

    let place = P::empty().await;
    let mut logs = Vec::new();
    for _ in 0..WRITERS {
        logs.push(open(&place).await);
    }
    let (tell, done) = watch::channel(false);
    let readers = [
        follow::<P>(open(&place).await, done.clone(), Duration::ZERO),
        follow::<P>(open(&place).await, done.clone(), Duration::from_secs(1)),
        follow::<P>(logs[0].clone(), done.clone(), Duration::from_millis(1)),
        follow::<P>(logs[1].clone(), done, LONG),
    ];
    let again = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .zip(&logs)
        .map(|(writer, log)| {
            let (log, again) = (log.clone(), again.clone());
            tokio::spawn(async move {
                let mut lengths = LENGTHS.repeat(usize::try_from(ROUNDS).unwrap());
                lengths.rotate_left(usize::try_from(writer * 3).unwrap() % LENGTHS.len());
                let (mut last, mut number) = (Position::START, writer * 1_000_000);
                for length in lengths {
                    let facts = tokens::<P>(number..number + length);
                    // An unacknowledged append is retried, and its entries may then be there twice.
                    let position = loop {
                        match log.append(facts.clone()).await {
                            Ok(position) => break position,
                            Err(Error::Unavailable(_)) => again.fetch_add(1, Ordering::Relaxed),
                            Err(error) => panic!("{error}"),
                        };
                    };
                    assert_later::<P>(position, last);
                    (last, number) = (position, number + length);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    tell.send_replace(true);

    let entries = whole::<P>(&*logs[0], None).await.entries;
    if again.load(Ordering::Relaxed) == 0 {
        assert_eq!(entries.len(), expected);
    }
    for reader in readers {
        assert!(reader.await.unwrap() == entries, "a reader has seen something else than there is");
    }
    // Each writer's entries are in the order of its appends.
    for writer in 0..WRITERS {
        let facts = tokens::<P>(writer * 1_000_000..writer * 1_000_000 + facts_of_a_writer);
        let mut facts = facts.iter().peekable();
        for entry in &entries {
            facts.next_if(|fact| *fact == entry);
        }
        assert_eq!(facts.peek(), None, "out of order");
    }
}

/// Like [`readers_see_no_gaps_while_many_append`], with one long transaction and many short ones, which begin after it and
/// could commit before it.
pub async fn a_transaction_that_takes_long_is_not_overtaken<P: Storage<Store: RevocationLog>>() {
    const ROUNDS: u64 = 6;
    const LONG_ONE: u64 = 1_500;
    const SHORT_ONES: u64 = 40;
    let expected = usize::try_from(ROUNDS * (LONG_ONE + SHORT_ONES)).unwrap();
    let place = P::empty().await;
    let (slow, quick) = (open(&place).await, open(&place).await);
    let (tell, done) = watch::channel(false);
    let reader = follow::<P>(open(&place).await, done, Duration::ZERO);
    for round in 0..ROUNDS {
        let start = round * 10_000;
        let facts = tokens::<P>(start..start + LONG_ONE);
        let slow = slow.clone();
        let long_one = tokio::spawn(async move { slow.append(facts).await.unwrap() });
        for number in 0..SHORT_ONES {
            quick.append(vec![token::<P>(format!("{round}, {number}"))]).await.unwrap();
        }
        long_one.await.unwrap();
    }
    tell.send_replace(true);
    let entries = whole::<P>(&*quick, None).await.entries;
    assert_eq!(entries.len(), expected);
    assert!(reader.await.unwrap() == entries, "the reader has seen something else than there is");
}

/// One append answers all waiting readers, however many.
pub async fn many_wait_at_once<P: Storage<Store: RevocationLog>>() {
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    let cursor = whole::<P>(&*here, None).await.cursor;
    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let (log, cursor) = (if number % 2 == 0 { here.clone() } else { there.clone() }, cursor.clone());
            tokio::spawn(async move { log.read(Some(&cursor), LONG).await.unwrap().entries })
        })
        .collect();
    tokio::task::yield_now().await;
    // Two hundred waiting readers do not block a writer.
    here.append(vec![token::<P>("a")]).await.unwrap();
    for reader in waiting {
        assert_eq!(reader.await.unwrap(), [token::<P>("a")]);
    }
}

/// A cancelled read leaves nothing behind: no connection, no lock, no entry.
pub async fn reads_that_are_given_up_harm_nobody<P: Storage<Store: RevocationLog>>() {
    const APPENDS: u64 = 60;
    let place = P::empty().await;
    let (here, there) = (open(&place).await, open(&place).await);
    let (tell, done) = watch::channel(false);
    let reader = follow::<P>(here.clone(), done, LONG);
    let cursor = whole::<P>(&*here, None).await.cursor;
    for number in 0..APPENDS {
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let (log, cursor) = (here.clone(), cursor.clone());
                tokio::spawn(async move { log.read(Some(&cursor), LONG).await.map(drop) })
            })
            .collect();
        // At any point that each of them has reached.
        for _ in 0..number % 4 {
            tokio::task::yield_now().await;
        }
        for waiting in waiting {
            waiting.abort();
        }
        there.append(tokens::<P>([number])).await.unwrap();
    }
    tell.send_replace(true);
    assert_eq!(reader.await.unwrap(), tokens::<P>(0..APPENDS));
    assert_eq!(whole::<P>(&*here, None).await.entries, tokens::<P>(0..APPENDS));
}
