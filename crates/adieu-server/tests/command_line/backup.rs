//! A backup of a running server is whole, and a store restored from it accepts no token that was logged out.

use std::fs;

use adieu_server::{config::StoreAddress, node::Node};
use test_servers::adieu::Adieu;

use crate::support::{Place, log_in};

const LIVE: &str = "jose";

/// Tokens of three sessions: logged out before the backup, logged out after it, and live.
struct Tokens {
    before: String,
    after: String,
    live: String,
}

impl Place {
    /// The backup that `tokens` belong to is `backup`; the server has stopped.
    async fn with_backup_of_a_server() -> (Self, Tokens) {
        let place = Self::with_user(LIVE);
        let server = place.server().start().await;
        let mut tokens = Vec::new();
        for _ in 0..3 {
            tokens.push(server.log_in(LIVE).await);
        }
        assert_eq!(server.post("/logout", &tokens[0]).await.0, 200);
        let done = place.run(&["store", "backup", "backup"]).succeeded();
        assert!(
            done.stdout.starts_with("wrote backup, ") && done.stdout.contains(" up to position 1"),
            "{}",
            done.stdout
        );
        assert_eq!(server.post("/logout", &tokens[1]).await.0, 200);
        server.stop().await;
        let [before, after, live] = tokens.try_into().unwrap();
        (place, Tokens { before, after, live })
    }

    /// Another machine, which has the backup and nothing else.
    fn elsewhere(&self) -> Self {
        let other = Self::empty();
        fs::copy(self.path("backup"), other.path("backup")).unwrap();
        other
    }

    /// Removes the store as a disk does that is replaced; the mark is on another one.
    fn lose_the_store(&self) {
        fs::remove_dir_all(self.path("data")).unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

async fn verdicts(server: &Adieu, tokens: &Tokens) -> [u16; 3] {
    let mut verdicts = [0; 3];
    for (verdict, token) in verdicts.iter_mut().zip([&tokens.before, &tokens.after, &tokens.live]) {
        *verdict = server.verify(token).await.0;
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_no_earlier_token_is_accepted_and_users_log_in_again() {
    let (place, tokens) = Place::with_backup_of_a_server().await;
    let new_machine = place.elsewhere();
    place.lose_the_store();
    for place in [place, new_machine] {
        let done = place.run(&["store", "restore", "backup"]).succeeded();
        assert!(done.stdout.contains("every token that was issued before is revoked"), "{}", done.stdout);
        assert_eq!(place.names("data"), ["adieu.sqlite"]);
        let server = place.server().start().await;
        assert_eq!(verdicts(&server, &tokens).await, [401, 401, 401]);
        let token = server.log_in(LIVE).await;
        assert_eq!(server.verify(&token).await.0, 204);
        let status = place.run(&["log", "status", "--json"]).succeeded().object();
        assert!(status["restored_at"].is_u64() && status["rolled_back"].is_null(), "{status}");
        place.run(&["log", "accept-restore"]).succeeded();
        server
            .becomes("accepted", async || place.run(&["log", "status", "--json"]).object()["restored_at"].is_null())
            .await;
        assert_eq!(verdicts(&server, &tokens).await, [401, 401, 401]);
        assert_eq!(server.verify(&token).await.0, 204);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_state_that_nothing_was_lost_unless_the_mark_knows_better() {
    let (place, mut tokens) = Place::with_backup_of_a_server().await;
    place.lose_the_store();
    let error = place.run(&["store", "restore", "backup", "--nothing-lost"]).failed();
    assert!(
        error.contains("shows that something was lost") && error.ends_with("Restore without --nothing-lost"),
        "{error}"
    );
    assert!(!place.path("data").exists());

    // On another machine there is no mark.
    let place = place.elsewhere();
    place.run(&["store", "restore", "backup", "--nothing-lost"]).succeeded();
    let server = place.server().start().await;
    assert_eq!(verdicts(&server, &tokens).await, [401, 204, 204]);
    assert_eq!(place.run(&["log", "status", "--json"]).object()["restored_at"], serde_json::Value::Null);
    // With a mark, and nothing lost since.
    assert_eq!(server.post("/logout", &tokens.after).await.0, 200);
    place.run(&["store", "backup", "backup"]).succeeded();
    server.stop().await;
    place.lose_the_store();
    place.run(&["store", "restore", "backup", "--nothing-lost"]).succeeded();
    let server = place.server().start().await;
    assert_eq!(verdicts(&server, &tokens).await, [401, 401, 204]);
    tokens.live = server.log_in(LIVE).await;
    assert_eq!(verdicts(&server, &tokens).await, [401, 401, 204]);
    server.stop().await;
}

/// The store is written all the time, and each backup has what was answered before it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_that_was_answered_before() {
    let place = Place::with_user(LIVE);
    let server = place.server().start().await;
    let node = place.node().await;
    for round in 0..4 {
        let mut ended = Vec::new();
        for _ in 0..20 {
            let tokens = log_in(&node, LIVE, "curl").await;
            assert_eq!(server.post("/logout", &tokens.access).await.0, 200);
            ended.push(tokens.access);
        }
        let load = async {
            for _ in 0..100 {
                log_in(&node, LIVE, "curl").await;
            }
        };
        let name = format!("backup-{round}");
        let backup = async {
            let mut command = tokio::process::Command::from(place.command(&["store", "backup", &name]));
            assert!(command.status().await.unwrap().success());
        };
        tokio::join!(load, backup);
        fs::copy(place.path(&name), place.path("backup")).unwrap();
        let other = place.elsewhere();
        other.run(&["store", "restore", "backup", "--nothing-lost"]).succeeded();
        let restored = Node::open(&other.settings()).await.unwrap();
        for token in &ended {
            assert!(restored.core.verifier().verify(token).is_err());
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_through_a_pipe_too_and_replaces_only_a_backup() {
    let (place, tokens) = Place::with_backup_of_a_server().await;
    let mut piped = place.command(&["store", "backup", "-"]);
    let piped = piped.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    let other = Place::empty();
    other.run_with(&["store", "restore", "-"], &piped.stdout).succeeded();
    let server = other.server().start().await;
    assert_eq!(verdicts(&server, &tokens).await, [401, 401, 401]);
    server.stop().await;

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(place.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(other.path("data/adieu.sqlite")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    place.run(&["store", "backup", "backup"]).succeeded();
    let store = fs::read(place.path("data/adieu.sqlite")).unwrap();
    for name in ["data/adieu.sqlite", "notes"] {
        place.write("notes", "not to be lost");
        let error = place.run(&["store", "backup", name]).failed();
        assert_eq!(error, format!("{name} exists and is not a backup; it was left as it is"));
    }
    assert!(fs::read(place.path("data/adieu.sqlite")).unwrap() == store);
    let error = place.run(&["store", "backup", "nowhere/backup"]).failed();
    assert!(error.starts_with("cannot write nowhere/backup: "), "{error}");
    assert_eq!(place.names("."), ["backup", "data", "data.high-water", "notes"]);
    assert_eq!(place.names("data"), ["adieu.sqlite"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_whole_backup_is_named_and_leaves_nothing() {
    let (place, _) = Place::with_backup_of_a_server().await;
    let whole = fs::read(place.path("backup")).unwrap();
    let line = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "not a backup of adieu"),
        (b"SQLite format 3\0".to_vec(), "not a backup of adieu"),
        (fs::read(place.path("data/adieu.sqlite")).unwrap(), "not a backup of adieu"),
        (whole[..20].to_vec(), "the first line of the backup is damaged"),
        (whole[..line - 1].to_vec(), "it ends after 0 of"),
        (whole[..line].to_vec(), "it ends after 0 of"),
        (whole[..line + 5_000].to_vec(), "it ends after 5000 of"),
        (whole[..whole.len() - 1].to_vec(), "the backup is incomplete"),
        ([&whole[..], b"\n"].concat(), "it has more than"),
        (
            [&b"{\"adieu_backup\":2,\"new\":[]}\n"[..], &whole[line..]].concat(),
            "written by a newer version of adieu (format 2)",
        ),
        ([&b"{\"adieu_backup\":1}\n"[..], &whole[line..]].concat(), "the first line of the backup is damaged"),
        ([&b"{\"adieu_backup\":"[..], &[b' '; 10_000]].concat(), "the first line of the backup is damaged"),
    ];
    for place in [line, line + 20, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        cases.push((damaged, "its checksum is wrong"));
    }
    let other = Place::empty();
    for (content, expected) in cases {
        other.write("backup", content);
        let error = other.run(&["store", "restore", "backup"]).failed();
        assert!(error.starts_with("cannot restore backup: ") && error.contains(expected), "{error} / {expected}");
        assert!(!other.path("data").exists() && !other.path("data.high-water").exists());
    }
    for data in ["data", "there/is/none"] {
        let error = other.run(&["store", "restore", "nothing", "--data", data]).failed();
        assert!(error.starts_with("cannot restore nothing: "), "{error}");
    }
    assert_eq!(other.names("."), ["backup"]);

    // Where there is a store, or a part of one.
    for left in ["adieu.sqlite", "adieu.sqlite-wal", "adieu.sqlite-journal"] {
        let other = place.elsewhere();
        fs::create_dir(other.path("data")).unwrap();
        other.write(&format!("data/{left}"), "");
        let error = other.run(&["store", "restore", "backup"]).failed();
        assert!(error.contains("exists: a backup is restored where there is no store"), "{error}");
        assert_eq!(other.names("data"), [left]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_other_engines_is_told_what_is_backed_up() {
    let place = Place::with_user(LIVE);
    let postgres: StoreAddress = "postgres://adieu@127.0.0.1:1/adieu".parse().unwrap();
    let mut command = place.command(&["store", "restore", "backup"]);
    command.env("ADIEU_STORE", postgres.to_string());
    let error = Place::finish(command, b"").failed();
    assert!(error.contains("restore PostgreSQL with its own tools"), "{error}");
}
