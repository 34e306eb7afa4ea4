//! Text chosen by others can't control the terminal, and a command finishes even if its output is closed.

use std::{io::Read as _, process::Stdio};

use crate::support::{Done, Place, log_in};

const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}é\u{7f}";

#[tokio::test]
async fn control_characters_are_spelt_out() {
    let place = Place::with_user("jose");
    log_in(&place.node().await, "jose", HOSTILE).await;
    let table = place.run(&["session", "list"]).succeeded().redacted();
    insta::assert_snapshot!(table, @r"
    ID                                    USER  SINCE                 LAST SEEN             ADDRESS    USER AGENT
    UUID________________________________  jose  TIME________________  TIME________________  192.0.2.7  \u{1b}]0;owned\u{7}\u{1b}[2J\u{d}\u{a}\u{9b}31m\u{202e}é\u{7f}
    ");
    assert_eq!(table.lines().count(), 2);

    let listed = place.run(&["session", "list", "--json"]).succeeded();
    assert!(!listed.stdout.trim_end().contains(|character: char| character.is_control() || character == '\u{202e}'));
    assert_eq!(listed.object()["user_agent"].as_str(), Some(HOSTILE), "a machine gets what it was");
}

#[test]
fn also_in_errors_and_in_tokens() {
    let place = Place::with_user("jose");
    let message = place.run(&["user", "disable", HOSTILE]).failed();
    assert!(!message.contains(|character: char| character.is_control()), "{message:?}");

    // {"alg":"\u001b[2J"} . {"sub":"\u009b31m"}
    let token = "eyJhbGciOiJcdTAwMWJbMkoifQ.eyJzdWIiOiJcdTAwOWIzMW0ifQ.AAAA";
    let inspected = place.run_with(&["token", "inspect"], token.as_bytes());
    assert!(inspected.stdout.contains(r"header alg  \u{1b}[2J"), "{}", inspected.stdout);
    assert!(inspected.stdout.contains(r"claim sub   \u{9b}31m"), "{}", inspected.stdout);
    let inspected = place.run_with(&["token", "inspect", "--json"], token.as_bytes());
    assert!(inspected.stdout.contains(r"\u009b31m"), "{}", inspected.stdout);

    let line = serde_json::json!({ "username": HOSTILE, HOSTILE: 1, "hash": HOSTILE }).to_string();
    let imported = place.run_with(&["user", "import", "-"], line.as_bytes());
    assert!(!imported.stderr.replace('\n', "").contains(|character: char| character.is_control()));
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    const HASH: &str = "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m";
    let place = Place::empty();
    let lines: String = (0..3_000).map(|number| format!("user{number},{HASH}\n")).collect();
    place.run_with(&["user", "import", "-", "--create"], format!("username,hash\n{lines}").as_bytes()).succeeded();

    for arguments in [&["user", "list"][..], &["user", "list", "--json"], &["completions", "bash"], &["config"]] {
        let mut child = place.command(arguments).stdin(Stdio::null()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 2]).unwrap();
        drop(stdout);
        let done = Done::from(child.wait_with_output().unwrap());
        assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_command_is_carried_out_and_its_status_kept_though_nobody_reads() {
    let place = Place::with_user("jose");
    let mut child = place.command(&["user", "import", "-", "--skip-invalid"]).spawn().unwrap();
    drop(child.stdout.take());
    let input = "username,hash\nbad,bad\nb,$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m\n";
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(place.run(&["user", "list", "--json"]).objects().len(), 2);
}
