//! Changes made by commands are in the audit trail, with those of servers; a command whose change can't be recorded fails.

use std::{fs, os::unix::fs::PermissionsExt as _};

use reqwest::Method;
use serde_json::{Value, json};
use test_servers::{adieu::Adieu, until};

use crate::support::{Done, Place, log_in, session_of};

const TRAIL: &str = "audit.jsonl";

/// Runs a command with an audit trail.
fn audited(place: &Place, trail: &str, arguments: &[&str], input: &[u8]) -> Done {
    let mut command = place.command(arguments);
    command.env("ADIEU_AUDIT_LOG", trail);
    Place::finish(command, input)
}

/// Prepares a server with an audit trail.
fn with_trail(place: &Place, trail: &str) -> Adieu {
    place.server().with("ADIEU_AUDIT_LOG", place.path(trail).display().to_string())
}

fn lines(place: &Place, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Returns the lines since the last call, without their times; each must be of a command.
fn taken(place: &Place) -> Vec<Value> {
    let mut taken = lines(place, TRAIL);
    for line in &mut taken {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("at").unwrap().as_u64().unwrap() > 1_700_000_000);
        assert_eq!(line.remove("via"), Some(json!("command_line")));
        assert_eq!(line.remove("uid"), Some(json!(rustix::process::getuid().as_raw())));
    }
    fs::write(place.path(TRAIL), "").unwrap();
    taken
}

/// Returns commands that change something, with their input, for a place that has the user jose with these sessions, this token and this
/// key, the client shop, and a restored backup.
fn that_change_something<'a>(sessions: &'a [String], token: &'a str, key: &'a str) -> Vec<(Vec<&'a str>, &'a [u8])> {
    vec![
        (vec!["user", "add", "ana", "--password-stdin"], b"secret-of-ana\n"),
        (
            vec!["user", "import", "-"],
            br#"{"username":"kim","password_hash":"$2b$04$......................nZwZk2hp0Vm0CoWR1jT.ROjQQCBsXuS"}"#,
        ),
        (vec!["session", "end", &sessions[0]], b""),
        (vec!["session", "end", "--user", "jose"], b""),
        (vec!["token", "revoke", "-"], token.as_bytes()),
        (vec!["token", "revoke", "--id", "some-jti"], b""),
        (vec!["revoke", "--user", "jose", "--yes"], b""),
        (vec!["revoke", "--everything", "--yes"], b""),
        (vec!["user", "passwd", "jose", "--password-stdin"], b"another secret\n"),
        (vec!["user", "disable", "jose"], b""),
        (vec!["user", "enable", "jose"], b""),
        (vec!["client", "add", "warehouse", "--capabilities", "follow"], b""),
        (vec!["client", "remove", "shop"], b""),
        (vec!["key", "rotate", "--after", "1h"], b""),
        (vec!["key", "remove", key], b""),
        (vec!["user", "delete", "jose", "--yes"], b""),
        (vec!["store", "copy", "--from", "sqlite:data/adieu.sqlite", "--to", "sqlite:copy.sqlite"], b""),
    ]
}

struct Prepared {
    place: Place,
    jose: String,
    sessions: Vec<String>,
    token: String,
    key: String,
}

async fn prepared() -> Prepared {
    let place = Place::empty();
    let jose = place.add("jose");
    place.run(&["client", "add", "shop", "--capabilities", "revoke"]).succeeded();
    let node = place.node().await;
    let pairs = [log_in(&node, "jose", "curl").await, log_in(&node, "jose", "curl").await];
    node.close().await;
    let key = place.run(&["key", "list", "--json"]).object()["id"].as_str().unwrap().to_owned();
    let sessions = pairs.iter().map(session_of).collect();
    let [pair, _] = pairs;
    Prepared { place, jose, sessions, token: pair.refresh, key }
}

/// Every node writes down which changes of the keys it has noticed, with a message, and that of the command may notice its own.
fn told_once(lines: Vec<Value>) -> Vec<Value> {
    let mut once = Vec::new();
    for line in lines.into_iter().filter(|line| line.get("signs_from").is_none() && line.get("message").is_none()) {
        if !once.contains(&line) {
            once.push(line);
        }
    }
    once
}

#[tokio::test]
async fn what_commands_change_is_written_down() {
    let Prepared { place, jose, sessions, token, key } = prepared().await;
    let mut all = String::new();
    let mut written = Vec::new();
    for (arguments, input) in that_change_something(&sessions, &token, &key) {
        let done = audited(&place, TRAIL, &arguments, input);
        assert_eq!(done.status, 0, "{arguments:?}: {}", done.stderr);
        all += &fs::read_to_string(place.path(TRAIL)).unwrap();
        let mode = fs::metadata(place.path(TRAIL)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let lines = taken(&place);
        written.push(if arguments[0] == "key" { told_once(lines) } else { lines });
    }
    let id = |command: usize, field: &str| written[command][0][field].as_str().unwrap().to_owned();
    let users = place.run(&["user", "list", "--json"]).objects();
    let user = |name: &str| users.iter().find(|user| user["username"] == name).unwrap()["id"].clone();
    let event = |event: &str| vec![json!({ "event": event, "subject": jose })];
    let expected = [
        vec![json!({ "event": "account_added", "subject": user("ana") })],
        vec![json!({ "event": "account_added", "subject": user("kim") })],
        vec![json!({ "event": "sessions_ended", "subject": jose, "session": sessions[0], "sessions_ended": 1 })],
        vec![json!({ "event": "sessions_ended", "subject": jose, "sessions_ended": 1 })],
        vec![json!({
            "event": "revoked", "scope": "token", "sessions_ended": 0,
            "subject": jose, "session": sessions[0], "token_id": id(4, "token_id"),
        })],
        vec![json!({ "event": "revoked", "scope": "token_id", "token_id": "some-jti" })],
        vec![json!({ "event": "revoked", "scope": "subject", "subject": jose, "sessions_ended": 0 })],
        vec![json!({ "event": "revoked", "scope": "everything", "sessions_ended": 0 })],
        event("password_changed"),
        event("account_disabled"),
        event("account_enabled"),
        vec![json!({ "event": "client_added", "client": "warehouse" })],
        vec![json!({ "event": "client_removed", "client": "shop" })],
        vec![json!({ "event": "key_added", "key_id": id(13, "key_id") })],
        // The other key does not sign yet.
        vec![
            json!({ "event": "key_removed", "key_id": key }),
            json!({ "event": "key_added", "key_id": written[14][1]["key_id"] }),
        ],
        event("account_deleted"),
        vec![json!({ "event": "store_copied", "from": "sqlite:data/adieu.sqlite", "to": "sqlite:copy.sqlite" })],
    ];
    for (written, expected) in written.iter().zip(&expected) {
        assert_eq!(written, expected);
    }
    assert_eq!(written.len(), expected.len());
    for secret in ["\"jose", "ana\"", "secret", "$2b$", token.as_str()] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    // Nothing was changed, so nothing is written.
    audited(&place, TRAIL, &["user", "enable", "jose"], b"").failed();
    audited(&place, TRAIL, &["session", "end", &sessions[0]], b"").failed();
    audited(&place, TRAIL, &["user", "list"], b"").succeeded();
    assert_eq!(taken(&place), Vec::<Value>::new());
}

#[tokio::test]
async fn nothing_is_changed_that_can_not_be_written_down() {
    let Prepared { place, sessions, token, key, .. } = prepared().await;
    let looks = [["user", "list"], ["session", "list"], ["client", "list"], ["key", "list"], ["log", "status"]];
    let look = || {
        looks.map(|look| audited(&place, "missing/audit", &[&look[..], &["--json"]].concat(), b"").succeeded().stdout)
    };
    let before = look();
    for (arguments, input) in that_change_something(&sessions, &token, &key) {
        assert_eq!(
            audited(&place, "missing/audit", &arguments, input).failed(),
            "the audit trail in missing/audit can't be written: No such file or directory (os error 2)",
            "{arguments:?}"
        );
    }
    assert_eq!(
        audited(&place, "missing/audit", &["log", "accept-restore"], b"").failed(),
        "the audit trail in missing/audit can't be written: No such file or directory (os error 2)"
    );
    assert_eq!(look(), before);
    assert!(!place.path("copy.sqlite").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_commands_share_it_and_it_can_be_renamed() {
    let place = Place::with_user("jose");
    // The log level does not affect the trail.
    let server = with_trail(&place, TRAIL).with("ADIEU_LOG_LEVEL", "error").with("ADIEU_ROTATION_GRACE", "0s");
    let server = server.start().await;
    let first = server.log_in_for_both("jose").await;
    server.refresh(&first.refresh).await.unwrap();
    // An event of the core.
    assert_eq!(server.refresh(&first.refresh).await, Err(401));
    audited(&place, TRAIL, &["session", "end", "--user", "jose"], b"").succeeded();
    fs::rename(place.path(TRAIL), place.path("old.jsonl")).unwrap();
    server.log_in("jose").await;
    audited(&place, TRAIL, &["key", "rotate"], b"").succeeded();
    until("known to the server", async || lines(&place, TRAIL).len() == 3).await;

    let told = |name: &str| -> Vec<_> {
        let lines = lines(&place, name);
        lines
            .iter()
            .map(|line| format!("{} {}", line["via"].as_str().unwrap(), line["event"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(told("old.jsonl"), ["server login", "server refresh_reused", "command_line sessions_ended"]);
    assert_eq!(told(TRAIL), ["server login", "command_line key_added", "server key_added"]);
    assert_eq!(server.log(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_write_it_says_so_and_goes_on() {
    let place = Place::with_user("jose");
    let server = with_trail(&place, "later/audit.jsonl").start().await;
    let says = |what: &str| server.log().matches(what).count();
    server.log_in("jose").await;
    server.log_in("jose").await;
    until("told", async || says("can't be written: No such file or directory") == 2).await;
    assert_eq!(says("ERROR"), 2, "once at the start, and once when there is something to be written");

    fs::create_dir(place.path("later")).unwrap();
    server.log_in("jose").await;
    until("told", async || says("the audit trail can be written again") == 1).await;
    assert_eq!(lines(&place, "later/audit.jsonl").len(), 1);
    // The log contains all of them.
    assert_eq!(says("event=\"login\""), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_had_no_room_spoils_no_other() {
    let place = Place::with_user("jose");
    let server = with_trail(&place, TRAIL).start().await;
    // It writes nothing into the store.
    let fails = async || {
        let wrong = json!({ "username": "jose", "password": "wrong" });
        assert_eq!(server.ask(Method::POST, "/login", None, Some(wrong)).await.0, 401);
    };
    let limit = |limit: &str| {
        let pid = server.pid().to_string();
        let status = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
        assert!(status.unwrap().success());
    };
    fails().await;
    let size = fs::metadata(place.path(TRAIL)).unwrap().len();
    limit(&(size + 10).to_string());
    fails().await;
    limit("unlimited");
    fails().await;
    let text = fs::read_to_string(place.path(TRAIL)).unwrap();
    let failed = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["event"] == "login_failed");
    assert_eq!(text.lines().map(failed).collect::<Vec<_>>(), [true, false, true], "{text}");
}
