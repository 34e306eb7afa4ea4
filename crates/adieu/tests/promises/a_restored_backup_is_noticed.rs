//! A restored backup lacks the revocations made after it: nodes notice the restore, and reject every token from before. Nothing else is
//! mistaken for a restore.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use adieu::{
    Error, Issuer, Node, NodeBuilder, SessionId,
    restore::{HighWater, Restorable as _},
    revocation::{Position, Revocation, RevocationLog as _, RevokedBy, Target},
    run_maintenance,
    session::{RefreshToken, Scope, SessionStore as _, TokenPair},
    time::{Clock as _, ManualClock, SystemClock, Timestamp},
    token::{Algorithm, Decoder, KeySet, KeyStore as _, Rules, SigningKey, StoredKey, TokenError, VerifyingKey},
};
use adieu_sqlite::{Sqlite, rusqlite::Connection};

use crate::support::{NOON, issuer, jose};

/// Only a test that hangs reaches it.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A store, and beside it the files that are not backed up.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("adieu.sqlite")
    }

    fn mark(&self) -> PathBuf {
        self.0.path().join("high-water")
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.store()).await.unwrap()
    }

    fn builder(&self) -> NodeBuilder {
        Node::builder(issuer()).with_high_water(self.mark())
    }

    async fn start(&self) -> Node {
        self.builder().start(self.open().await).await.unwrap()
    }

    /// Starts a node that does not have the mark.
    async fn start_elsewhere(&self) -> Node {
        Node::builder(issuer()).start(self.open().await).await.unwrap()
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.0.path().join(name);
        let statement = format!("VACUUM INTO '{}'", copy.display());
        Connection::open(self.store()).unwrap().execute_batch(&statement).unwrap();
        copy
    }

    /// Replaces the store by a copy; no process has it open.
    fn put_back(&self, copy: &Path) {
        for file in ["adieu.sqlite-wal", "adieu.sqlite-shm"] {
            let _ = fs::remove_file(self.0.path().join(file));
        }
        fs::remove_file(self.store()).unwrap();
        fs::copy(copy, self.store()).unwrap();
    }
}

/// Stops a node, and waits until its files are closed.
async fn stop(place: &Place, node: Node) {
    drop(node);
    let log = place.store().with_extension("sqlite-wal");
    let started = Instant::now();
    while log.exists() {
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn log_in(node: &Node) -> TokenPair {
    node.sessions().log_in(jose()).await.unwrap()
}

async fn log_out(node: &Node, tokens: &TokenPair) {
    node.sessions().log_out(&tokens.access, Scope::This).await.unwrap();
}

fn refusal(node: &Node, token: &str) -> Option<TokenError> {
    node.verifier().verify(token).err()
}

async fn refresh(node: &Node, tokens: &TokenPair) -> bool {
    let Ok(token): Result<RefreshToken, _> = node.sessions().inspect(&tokens.refresh) else { return false };
    node.sessions().refresh(&token).await.is_ok()
}

async fn assert_all_is_revoked(node: &Node, before: &[&TokenPair]) {
    assert!(node.restored_at().is_some());
    for tokens in before {
        assert_eq!(refusal(node, &tokens.access), Some(TokenError::Revoked(RevokedBy::Everything)));
        assert!(!refresh(node, tokens).await);
    }
    let tokens = log_in(node).await;
    assert_eq!(refusal(node, &tokens.access), None);
    assert!(refresh(node, &tokens).await);
}

#[tokio::test]
async fn every_token_from_before_is_refused() {
    let place = Place::new();
    let node = place.start().await;
    let (left, stayed) = (log_in(&node).await, log_in(&node).await);
    let copy = place.copy("backup");
    log_out(&node, &left).await;
    let after = log_in(&node).await;
    stop(&place, node).await;

    place.put_back(&copy);
    let node = place.start().await;
    assert_all_is_revoked(&node, &[&left, &stayed, &after]).await;

    // It stays so, and is reported at each start, until the operator accepts the restore.
    let new = log_in(&node).await;
    let noticed_at = node.restored_at();
    stop(&place, node).await;
    let node = place.start().await;
    assert_eq!(node.restored_at(), noticed_at);
    assert_eq!(node.accept_restore().await.unwrap(), noticed_at);
    assert_eq!(node.accept_restore().await.unwrap(), None);
    stop(&place, node).await;
    let node = place.start().await;
    assert_eq!(node.restored_at(), None);
    assert_eq!(refusal(&node, &new.access), None, "noticed once, not at every start");
    assert_eq!(refusal(&node, &left.access), Some(TokenError::Revoked(RevokedBy::Everything)));
}

/// The smallest rollback: by the one entry that was acknowledged just before the process ended, with nothing written in the background
/// since.
#[tokio::test]
async fn also_when_only_the_last_logout_is_missing() {
    let place = Place::new();
    let node = place.start().await;
    let [first, last] = [log_in(&node).await, log_in(&node).await];
    log_out(&node, &first).await;
    let copy = place.copy("backup");
    log_out(&node, &last).await;
    // The file as the system has it, and would have it after `kill -9`.
    fs::copy(place.mark(), place.0.path().join("mark")).unwrap();
    stop(&place, node).await;
    fs::copy(place.0.path().join("mark"), place.mark()).unwrap();
    place.put_back(&copy);
    assert_all_is_revoked(&place.start().await, &[&last]).await;
}

#[tokio::test]
async fn also_when_others_have_gone_on_with_the_copy() {
    for more in [1, 5] {
        let place = Place::new();
        let node = place.start().await;
        let left = log_in(&node).await;
        let copy = place.copy("backup");
        log_out(&node, &left).await;
        settle(&place, &node).await;
        stop(&place, node).await;

        place.put_back(&copy);
        let other = place.start_elsewhere().await;
        assert_eq!(refusal(&other, &left.access), None, "who has no mark can't know");
        for _ in 0..more {
            let tokens = log_in(&other).await;
            log_out(&other, &tokens).await;
        }
        stop(&place, other).await;
        assert_all_is_revoked(&place.start().await, &[&left]).await;
    }
}

/// Waits until the mark records the last entry of the log.
async fn settle(place: &Place, node: &Node) {
    let store = place.open().await;
    let started = Instant::now();
    loop {
        let head = store.inspect(Position::START).await.unwrap().head;
        let mark = HighWater::inspect(&place.mark()).unwrap().unwrap();
        if mark.anchor() == head && mark.position() == head {
            return;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{mark:?}, {:?}", node.restored_at());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_the_first_acts_and_all_know() {
    let place = Place::new();
    let marks = [place.0.path().join("one"), place.0.path().join("two"), place.0.path().join("three")];
    let start =
        async |mark: &Path| Node::builder(issuer()).with_high_water(mark).start(place.open().await).await.unwrap();
    let node = start(&marks[0]).await;
    let others = [start(&marks[1]).await, start(&marks[2]).await];
    let left = log_in(&node).await;
    let copy = place.copy("backup");
    log_out(&node, &left).await;
    let started = Instant::now();
    while others.iter().any(|other| refusal(other, &left.access).is_none()) {
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(others);
    stop(&place, node).await;

    place.put_back(&copy);
    let (one, two) = tokio::join!(start(&marks[0]), start(&marks[1]));
    let late = start(&marks[2]).await;
    for node in [&one, &two, &late] {
        assert_all_is_revoked(node, &[&left]).await;
    }
    let all = place.open().await.read(None, Duration::ZERO).await.unwrap().entries;
    let cut_offs = all.iter().filter(|entry| matches!(entry.target, Target::Everything { .. })).count();
    assert_eq!(cut_offs, 1);
}

/// Restores as the SQLite shell's `.restore` does: the file is the same, and the node has it open.
fn go_back_under_it(place: &Place, copy: &Path, then: &str) {
    let statement = format!(
        "ATTACH '{}' AS copy; BEGIN IMMEDIATE; DELETE FROM main.revocation; DELETE FROM main.session; \
         INSERT INTO main.revocation SELECT * FROM copy.revocation; INSERT INTO main.session SELECT * FROM copy.session; \
         {then}; COMMIT",
        copy.display()
    );
    let connection = Connection::open(place.store()).unwrap();
    connection.busy_timeout(TEST_TIMEOUT).unwrap();
    connection.execute_batch(&statement).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_node_runs() {
    let grown = "INSERT INTO main.revocation (kind, issuer, id, moment, lapses_at) VALUES \
                 (1, 'a', 'a', NULL, 9000000000), (1, 'a', 'b', NULL, 9000000000), (1, 'a', 'c', NULL, 9000000000), \
                 (1, 'a', 'd', NULL, 9000000000)";
    for then in ["SELECT 1", grown] {
        let place = Place::new();
        let node = place.start().await;
        let (left, stayed) = (log_in(&node).await, log_in(&node).await);
        let first = log_in(&node).await;
        log_out(&node, &first).await;
        let copy = place.copy("backup");
        log_out(&node, &left).await;
        settle(&place, &node).await;
        go_back_under_it(&place, &copy, then);
        let started = Instant::now();
        while node.restored_at().is_none() || refusal(&node, &stayed.access).is_none() {
            assert!(started.elapsed() < TEST_TIMEOUT, "{then}");
            assert!(refusal(&node, &left.access).is_some(), "what was known stays revoked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("noticed after {:?}", started.elapsed());
        assert!(refusal(&node, &left.access).is_some() && !refresh(&node, &left).await);
        assert!(!refresh(&node, &stayed).await);
        let new = log_in(&node).await;
        assert_eq!(refusal(&node, &new.access), None);
    }
}

#[tokio::test]
async fn the_tokens_of_other_issuers_are_refused_as_well() {
    let place = Place::new();
    let node = place.builder().with_issuer(shop()).start(place.open().await).await.unwrap();
    let copy = place.copy("backup");
    node.sessions().append(vec![session_of("shop")]).await.unwrap();
    stop(&place, node).await;
    place.put_back(&copy);
    let before = SystemClock.now();
    let node = place.builder().with_issuer(shop()).start(place.open().await).await.unwrap();
    assert!(node.restored_at().is_some());
    let entries = place.open().await.read(None, Duration::ZERO).await.unwrap().entries;
    let of_shop: Vec<&Revocation> = entries.iter().filter(|entry| entry.issuer.as_str() == "shop").collect();
    assert!(matches!(of_shop[..], [Revocation { target: Target::Everything { issued_until }, lapses_at, .. }]
        if *issued_until >= before && *lapses_at > before.plus(Duration::from_secs(3_600))));
}

/// An issuer that was not trusted yet when the node started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_those_of_an_issuer_that_is_trusted_since_the_node_runs() {
    let place = Place::new();
    let node = place.start().await;
    node.verifier().replace_issuers([shop().into()]).unwrap();
    let first = log_in(&node).await;
    log_out(&node, &first).await;
    let copy = place.copy("backup");
    node.sessions().append(vec![session_of("shop")]).await.unwrap();
    settle(&place, &node).await;
    go_back_under_it(&place, &copy, "SELECT 1");
    let started = Instant::now();
    let is_of_shop =
        |entry: &Revocation| entry.issuer.as_str() == "shop" && matches!(entry.target, Target::Everything { .. });
    while !place.open().await.read(None, Duration::ZERO).await.unwrap().entries.iter().any(is_of_shop) {
        assert!(started.elapsed() < TEST_TIMEOUT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn shop() -> Decoder {
    let key = VerifyingKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let rules = Rules::new(Issuer::new("shop").unwrap()).with_max_lifetime(Duration::from_secs(3_600));
    Decoder::new(rules, KeySet::new([key]).unwrap())
}

fn session_of(issuer: &str) -> Revocation {
    Revocation {
        issuer: Issuer::new(issuer).unwrap(),
        target: Target::Session { id: SessionId::random() },
        lapses_at: SystemClock.now().plus(Duration::from_secs(3_600)),
    }
}

/// A key that may be stolen must not come back with the backup: its holder can sign any token, with an issue time after any cut-off.
#[tokio::test]
async fn a_key_that_was_removed_does_not_come_back() {
    let place = Place::new();
    let node = place.start().await;
    let store = place.open().await;
    let stolen = store.keys().await.unwrap().remove(0).id;
    let copy = place.copy("backup");
    let tokens = log_in(&node).await;
    log_out(&node, &tokens).await;
    stop_with(&place, node, store).await;
    let store = place.open().await;
    let key = StoredKey::of(&SigningKey::generate(Algorithm::EdDSA).unwrap(), NOON).unwrap();
    store.replace_keys(Some(key), vec![stolen.clone()]).await.unwrap();
    // The next start notices it.
    let node = place.start().await;
    stop_with(&place, node, store).await;

    place.put_back(&copy);
    let node = place.start().await;
    assert!(node.restored_at().is_some() && refusal(&node, &tokens.access).is_some());
    let new = log_in(&node).await;
    assert_eq!(refusal(&node, &new.access), None);
    let keys = place.open().await.keys().await.unwrap();
    assert!(keys.len() == 1 && keys[0].id != stolen, "the only key of the backup was replaced");
}

/// The tables of a backup are restored one by one, and the operator accepts the restore at once.
#[tokio::test]
async fn a_session_that_comes_back_later_has_ended_before_the_restore_is_accepted() {
    let place = Place::new();
    let node = place.start().await;
    let left = log_in(&node).await;
    let copy = place.copy("backup");
    let session = place.open().await.sessions(None, 1).await.unwrap().remove(0);
    log_out(&node, &left).await;
    stop(&place, node).await;
    place.put_back(&copy);
    let node = place.start().await;
    let store = place.open().await;
    store.create(session).await.unwrap();
    assert!(node.accept_restore().await.unwrap().is_some());
    assert_eq!(store.sessions(None, 10).await.unwrap(), vec![]);
    assert!(!refresh(&node, &left).await);
}

async fn stop_with(place: &Place, node: Node, store: Sqlite) {
    drop(store);
    stop(place, node).await;
}

/// The file was removed, and the node created an empty one.
#[tokio::test]
async fn a_store_that_was_emptied_is_noticed() {
    let place = Place::new();
    let key = || SigningKey::from_secret(Algorithm::HS256, &[9; 32]).unwrap();
    let start = async || place.builder().with_signing_key(key()).start(place.open().await).await.unwrap();
    let node = start().await;
    let (left, stayed) = (log_in(&node).await, log_in(&node).await);
    log_out(&node, &left).await;
    stop(&place, node).await;

    fs::remove_file(place.store()).unwrap();
    let node = start().await;
    // The key is not in the store, so both tokens have valid signatures.
    assert_all_is_revoked(&node, &[&left, &stayed]).await;
    let new = log_in(&node).await;
    stop(&place, node).await;
    assert_eq!(refusal(&start().await, &new.access), None, "noticed once, not at each start");
}

#[tokio::test]
async fn another_store_is_not_a_backup_but_the_one_before_it_is() {
    let place = Place::new();
    let node = place.start().await;
    let tokens = log_in(&node).await;
    log_out(&node, &log_in(&node).await).await;
    let first = place.copy("first");
    stop(&place, node).await;

    // A store never seen here, which has revocations, is unknown: it may be the right one.
    fs::remove_file(place.store()).unwrap();
    stop(&place, {
        let node = place.start_elsewhere().await;
        log_out(&node, &log_in(&node).await).await;
        node
    })
    .await;
    let node = place.start().await;
    assert_eq!(node.restored_at(), None);
    assert!(refusal(&node, &tokens.access).is_some(), "of another key");
    stop(&place, node).await;

    // The first store lacks the revocations of the other one.
    place.put_back(&first);
    assert_all_is_revoked(&place.start().await, &[&tokens]).await;
}

#[tokio::test]
async fn a_backup_from_before_the_last_restore_is_noticed_again() {
    let place = Place::new();
    let node = place.start().await;
    let tokens = log_in(&node).await;
    let copy = place.copy("backup");
    log_out(&node, &tokens).await;
    stop(&place, node).await;
    for round in 0..3 {
        place.put_back(&copy);
        let node = place.start().await;
        assert_all_is_revoked(&node, &[&tokens]).await;
        assert!(node.accept_restore().await.unwrap().is_some(), "{round}");
        stop(&place, node).await;
    }
}

#[tokio::test]
async fn positions_go_on_after_the_mark() {
    let place = Place::new();
    let node = place.start().await;
    let copy = place.copy("backup");
    for _ in 0..5 {
        log_out(&node, &log_in(&node).await).await;
    }
    let before = place.open().await.read(None, Duration::ZERO).await.unwrap().cursor;
    stop(&place, node).await;
    place.put_back(&copy);
    let node = place.start().await;
    let after = place.open().await.read(None, Duration::ZERO).await.unwrap().cursor;
    assert!(after.log != before.log && after.position > before.position, "{before} {after}");
    assert!(node.restored_at().is_some());
}

#[tokio::test]
async fn a_mark_that_can_not_be_read_stops_the_start_and_is_left_as_it_is() {
    let place = Place::new();
    let node = place.start().await;
    log_out(&node, &log_in(&node).await).await;
    stop(&place, node).await;
    let whole = fs::read(place.mark()).unwrap();
    let start = async || place.builder().start(place.open().await).await.err();

    for damage in [b"Dear diary".to_vec(), vec![b'x'; 5_000], {
        let mut bytes = whole.clone();
        let length = bytes.len();
        bytes[..length].iter_mut().skip(100).step_by(50).for_each(|byte| *byte ^= 1);
        bytes
    }] {
        fs::write(place.mark(), &damage).unwrap();
        match start().await {
            Some(Error::IncompatibleStore(message)) => {
                assert!(message.contains("is damaged") && message.contains("remove"), "{message}");
                assert!(message.contains(place.mark().to_str().unwrap()), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert!(fs::read(place.mark()).unwrap() == damage);
    }
    fs::remove_file(place.mark()).unwrap();
    fs::create_dir(place.mark()).unwrap();
    assert!(matches!(start().await, Some(Error::IncompatibleStore(message)) if message.contains("can't be used")));

    // Without a file, or with one that was created and never written, the mark starts empty.
    fs::remove_dir(place.mark()).unwrap();
    assert!(start().await.is_none());
    fs::write(place.mark(), "").unwrap();
    assert!(start().await.is_none());
    #[cfg(unix)]
    {
        fs::remove_file(place.mark()).unwrap();
        assert!(start().await.is_none());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.mark()).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Restarts, crashes, pruning, expired entries, changed settings: none of them makes the log look rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_else_is_taken_for_it() {
    let place = Place::new();
    let clock = ManualClock::at(NOON);
    let mut random = fastrand::Rng::with_seed(7);
    let mut crashed = Vec::new();
    for round in 0..40 {
        let store = place.open().await;
        let node = place.builder().with_clock(Arc::new(clock.clone())).start(store.clone()).await.unwrap();
        assert_eq!(node.restored_at(), None, "round {round}");
        let sessions = node.sessions();
        for _ in 0..random.usize(..6) {
            match random.u8(..8) {
                0 => {
                    clock.advance(Duration::from_secs(random.u64(1..100_000)));
                    run_maintenance(&**node.log(), sessions.store(), clock.now()).await.unwrap();
                }
                // Hidden from the start: the entry expired before it was appended.
                1 => {
                    let lapsed = Revocation { lapses_at: Timestamp::from_unix(1), ..session_of("a") };
                    sessions.append(vec![lapsed]).await.unwrap();
                }
                2 => {
                    node.log().append(vec![session_of("a"), session_of("b")]).await.unwrap();
                }
                3 => {
                    let cut_off = Target::Everything { issued_until: NOON.minus(Duration::from_secs(9)) };
                    sessions.append(vec![Revocation { target: cut_off, ..session_of("a") }]).await.unwrap();
                }
                4 => tokio::time::sleep(Duration::from_millis(random.u64(..300))).await,
                5 => clock.set_wall(NOON.plus(Duration::from_secs(random.u64(..1_000_000)))),
                _ => {
                    clock.advance(Duration::from_secs(2));
                    let tokens = sessions.log_in(jose()).await.unwrap();
                    let _ = sessions.log_out(&tokens.access, Scope::This).await;
                }
            }
        }
        assert_eq!(node.restored_at(), None, "round {round}");
        match random.bool() {
            // As after `kill -9`, for as long as the test runs.
            true => crashed.push((node, store)),
            false => drop((node, store)),
        }
    }
    assert!(crashed.iter().all(|(node, _)| node.restored_at().is_none()));
}
