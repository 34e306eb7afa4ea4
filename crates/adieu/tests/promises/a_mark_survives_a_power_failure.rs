//! The file of the high-water mark is never torn as a whole, and several processes share it.

use std::fs;

use adieu::{
    restore::{HighWater, LogState},
    revocation::{LogId, Position},
    time::Timestamp,
};

fn ending_at(position: u64) -> LogState {
    LogState {
        log: LogId::new("log").unwrap(),
        lineage: LogId::new("log").unwrap(),
        head: Position::new(position),
        pruned_through: Timestamp::ZERO,
        restored_at: None,
        entry: None,
        last: None,
    }
}

/// Whichever page of it is lost in a power failure.
#[tokio::test]
async fn a_mark_that_was_torn_still_says_nearly_as_much() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("high-water");
    let mark = HighWater::open(&path).unwrap();
    for position in 1..=10 {
        mark.record(&ending_at(position));
        mark.sync();
        mark.record(&ending_at(position));
    }
    drop(mark);
    let whole = fs::read(&path).unwrap();
    assert_eq!(HighWater::inspect(&path).unwrap().unwrap().position(), Position::new(10));
    assert_eq!(whole.len(), 3 * 4_096);
    let mut found = Vec::new();
    for page in 0..3 {
        let mut bytes = whole.clone();
        bytes[page * 4_096 + 80..][..20].fill(0);
        fs::write(&path, bytes).unwrap();
        found.push(HighWater::inspect(&path).unwrap().unwrap().position().get());
    }
    found.sort_unstable();
    assert_eq!(found, [9, 10, 10]);
}

/// Whichever sectors of it were written when the power failed in the first moment.
#[tokio::test]
async fn a_mark_that_was_torn_before_it_was_used_is_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("high-water");
    drop(HighWater::open(&path).unwrap());
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 4_096);
    for sectors in 0..=8 {
        for lost in 0..sectors {
            let mut bytes = whole[..sectors * 512].to_vec();
            bytes[lost * 512..][..512].fill(0);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(HighWater::inspect(&path).unwrap(), None);
            assert_eq!(fs::read(&path).unwrap(), bytes, "it was changed");
            let mark = HighWater::open(&path).unwrap();
            mark.record(&ending_at(1));
            drop(mark);
            assert_eq!(HighWater::inspect(&path).unwrap().unwrap().position(), Position::new(1));
            // The record that was there before is not touched until the new one is on the disk.
            assert_eq!(fs::read(&path).unwrap()[..4_096], whole);
        }
    }
}

/// A busy machine may suspend a process while it has the file locked.
#[test]
fn a_mark_is_opened_once_another_process_has_unlocked_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("high-water");
    drop(HighWater::open(&path).unwrap());
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    let unlocking = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(other);
    });
    HighWater::open(&path).unwrap();
    unlocking.join().unwrap();
}

/// Two processes, such as a server and a command: neither undoes the other's records.
#[test]
fn a_mark_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("high-water");
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let mark = HighWater::open(&path).unwrap();
            std::thread::spawn(move || {
                for number in 0..200 {
                    mark.record(&ending_at(1 + number * 4 + thread));
                    if number % 50 == 0 {
                        mark.sync();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(HighWater::inspect(&path).unwrap().unwrap().position(), Position::new(800));
}
