//! `adieu log`: the status of the log, and the restore of a backup.

use std::{fs, thread, time::Duration};

use adieu_server::{config::Settings, node::Node};

use crate::support::{Place, log_in};

impl Place {
    fn copy_store(&self) {
        let store = rusqlite::Connection::open(self.path("data/adieu.sqlite")).unwrap();
        store.execute("VACUUM INTO $1", [self.path("backup").to_str().unwrap()]).unwrap();
    }

    /// Restores the backup over a store that no process has open.
    fn put_back(&self) {
        while self.path("data/adieu.sqlite-wal").exists() {
            thread::sleep(Duration::from_millis(5));
        }
        fs::copy(self.path("backup"), self.path("data/adieu.sqlite")).unwrap();
    }

    /// With a mark, as left by a server that has ended a session which the backup still has.
    pub(crate) async fn with_backup() -> Self {
        let place = Self::with_user("jose");
        let node = Node::open(&place.settings()).await.unwrap();
        let tokens = log_in(&node, "jose", "curl").await;
        place.copy_store();
        node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
        node.close().await;
        drop(node);
        place.put_back();
        place
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_how_the_log_stands() {
    let place = Place::with_user("jose");
    let status = place.run(&["log", "status", "--json"]).succeeded().object();
    assert_eq!((&status["head"], &status["entries"], &status["pruned_through"]), (&0.into(), &0.into(), &0.into()));
    assert!(status["high_water"].is_null() && status["restored_at"].is_null() && status["rolled_back"].is_null());
    assert!(!place.path("data.high-water").exists(), "to look makes nothing");

    let node = Node::open(&place.settings()).await.unwrap();
    let tokens = log_in(&node, "jose", "curl").await;
    node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    let status = place.run(&["log", "status", "--json"]).succeeded().object();
    assert_eq!((&status["head"], &status["entries"]), (&1.into(), &1.into()));
    assert_eq!(status["high_water"]["position"], 1);
    assert_eq!(status["high_water"]["log"], status["log"]);
    let text = place.run(&["log", "status"]).succeeded().stdout;
    assert!(text.contains("high-water mark  1 in data.high-water\nrestored backup  no\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_nothing_to_accept_where_nothing_was_put_back() {
    let place = Place::with_user("jose");
    drop(Node::open(&place.settings()).await.unwrap());
    assert_eq!(
        place.run(&["log", "accept-restore"]).failed(),
        "there is nothing to accept: no restored backup was detected"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_start_accepting_does_the_rest_as_well() {
    let place = Place::with_backup().await;
    let status = place.run(&["log", "status"]).succeeded().stdout;
    assert!(status.contains("yes; the next start will detect it: the log ends before"), "{status}");
    let before = place.run(&["log", "status", "--json"]).succeeded().object();

    let mut accept = place.command(&["log", "accept-restore"]);
    accept.env("ADIEU_AUDIT_LOG", "audit.jsonl");
    let accepted = Place::finish(accept, b"").succeeded().redacted();
    insta::assert_snapshot!(accepted, @"accepted the restored backup that was detected at TIME________________; every token that was issued before stays revoked");
    let after = place.run(&["log", "status", "--json"]).succeeded().object();
    assert!(after["log"] != before["log"] && after["restored_at"].is_null() && after["rolled_back"].is_null());
    assert_eq!(after["entries"], 1, "the cut-off");
    let sessions = place.run(&["session", "list", "--json"]).succeeded();
    assert!(sessions.objects().is_empty(), "{}", sessions.stdout);
    assert_eq!(place.run(&["log", "accept-restore"]).status, 1);
    let trail = fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let events: Vec<_> =
        ["\"restore_detected\"", "\"restore_accepted\""].map(|event| trail.find(event).unwrap()).into();
    assert!(events.is_sorted() && trail.lines().all(|line| line.contains(r#""via":"command_line""#)), "{trail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_uses_the_store_is_told_until_it_is_accepted() {
    let place = Place::with_backup().await;
    let revoke = ["revoke", "--subject", "alice", "--yes"];
    for _ in 0..2 {
        let told = place.run(&revoke);
        assert_eq!(told.status, 0);
        assert!(told.stderr.starts_with("warning: this store was restored from a backup"), "{}", told.stderr);
    }
    let status = place.run(&["log", "status"]).succeeded().stdout;
    assert!(status.contains("not accepted yet"), "{status}");
    // A running node notices it.
    let node = Node::open(&place.settings()).await.unwrap();
    assert!(node.core.restored_at().is_some());
    assert!(node.metrics.render().unwrap().contains("adieu_restore_detected 1"));
    place.run(&["log", "accept-restore"]).succeeded();
    while node.core.restored_at().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(node.metrics.render().unwrap().contains("adieu_restore_detected 0"));
    drop(node);
    place.run(&revoke).succeeded();
}

/// So that the store is one file, which can be copied.
#[test]
fn a_command_that_has_ended_has_closed_the_store() {
    let place = Place::with_user("jose");
    for _ in 0..5 {
        for beside in ["data/adieu.sqlite-wal", "data/adieu.sqlite-shm"] {
            assert!(!place.path(beside).exists(), "{beside}");
        }
        place.run(&["log", "status"]).succeeded();
    }
}

/// Restoring the data folder does not affect a mark outside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_is_where_the_settings_have_it() {
    let place = Place::with_user("jose");
    let settings = Settings { high_water_file: Some(place.path("elsewhere/mark")), ..place.settings() };
    let node = Node::open(&settings).await.unwrap();
    let tokens = log_in(&node, "jose", "curl").await;
    place.copy_store();
    node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    drop(node);
    assert!(place.path("elsewhere/mark").exists() && !place.path("data.high-water").exists());
    place.put_back();
    let node = Node::open(&settings).await.unwrap();
    assert!(node.core.restored_at().is_some());
    assert!(node.sessions.verifier().verify(&tokens.access).is_err());
}

/// Creates the mark of a server after this many logouts.
async fn mark(place: &Place, file: &str, logouts: usize) {
    let settings = Settings { high_water_file: Some(place.path(file)), ..place.settings() };
    let node = Node::open(&settings).await.unwrap();
    for _ in 0..logouts {
        let tokens = log_in(&node, "jose", "curl").await;
        node.sessions.log_out(&tokens.access, Default::default()).await.unwrap();
    }
    node.close().await;
}

/// Both marks exist, as left by an earlier version or by a crash between copying and removing one: the further one counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_in_the_data_folder_moves_out_of_it_and_the_further_one_counts() {
    let [inside, beside] = ["data/high-water", "data.high-water"];
    for marks in
        [&[(inside, 2)][..], &[(beside, 1), (inside, 1)], &[(inside, 1), (beside, 1)], &[(beside, 0), (inside, 2)]]
    {
        let place = Place::with_user("jose");
        for (number, (file, logouts)) in marks.iter().enumerate() {
            if number + 1 == marks.len() {
                place.copy_store();
            }
            mark(&place, file, *logouts).await;
        }
        if marks[0] == (beside, 0) {
            // Nothing has been written to it yet.
            fs::write(place.path(beside), "").unwrap();
        }
        let position =
            || place.run(&["log", "status", "--json"]).succeeded().object()["high_water"]["position"].clone();
        if marks.len() == 1 || marks[0].1 == 0 {
            assert_eq!(position(), 2, "{marks:?}");
        }
        // A store without the last logout, which only the further mark has recorded.
        place.put_back();
        let node = Node::open(&place.settings()).await.unwrap();
        assert!(node.core.restored_at().is_some() && !place.path(inside).exists(), "{marks:?}");
        assert!(place.path(beside).exists());
    }
}

/// The mark would be kept beside the folder, and the one in the folder is removed only after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_is_damaged_stops_the_start_wherever_it_is() {
    for file in ["data/high-water", "data.high-water"] {
        let place = Place::with_user("jose");
        mark(&place, "data/high-water", 1).await;
        fs::write(place.path(file), "damaged").unwrap();
        let refused = Node::open(&place.settings()).await.unwrap_err().to_string();
        assert!(refused.contains("is damaged or not a mark"), "{refused}");
        assert!(place.path("data/high-water").exists());
        assert_eq!(fs::read(place.path(file)).unwrap(), b"damaged");
    }
}
