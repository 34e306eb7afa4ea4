//! `adieu user import`: imports users from other software; an invalid line affects only itself.
//!
//! The hashes are some of those in `passwords_of_other_software.rs`, made with passlib, bcrypt and argon2-cffi.

use crate::support::{Place, account, can_log_in};

const PASSLIB: &str = "$pbkdf2-sha256$29000$oDQGACCEMEZI6X3vXcsZ4w$Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4";
const BCRYPT: &str = "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m";
const ARGON2: &str =
    "$argon2id$v=19$m=65536,t=3,p=4$oS/kRFvtm87PJcAxQBeeFA$WJjHFcRXy7Xm55abvbbvevNEesWsOAX0Csyt0a4WMKw";

/// Returns standard error, then standard output.
fn import(place: &Place, status: i32, content: impl AsRef<[u8]>) -> String {
    place.write("users", content);
    let done = place.run(&["user", "import", "users", "--create"]);
    assert_eq!(done.status, status, "{}{}", done.stderr, done.stdout);
    done.stderr + &done.stdout
}

#[tokio::test]
async fn users_of_other_software_log_in_with_their_passwords() {
    let csv = format!(
        "\u{feff}id,username,password,is_admin,disabled\r\n1,passlib,{PASSLIB},t,f\r\n2,bcrypt,{BCRYPT},,\r\n\
         3,\"argon, 2\",\"{ARGON2}\",0,0\r\n4,gone,{BCRYPT},False,True\r\n"
    );
    let jsonl = format!(
        "{{\"username\": \"passlib\", \"password_hash\": \"{PASSLIB}\", \"is_admin\": true}}\n\n\
         {{\"username\": \"bcrypt\", \"hash\": \"{BCRYPT}\", \"disabled\": null, \"id\": 1}}\n\
         {{\"username\": \"argon, 2\", \"password\": \"{ARGON2}\", \"is_admin\": 0}}\n\
         {{\"username\": \"gone\", \"password\": \"{BCRYPT}\", \"disabled\": true}}"
    );
    for content in [csv, jsonl] {
        let place = Place::empty();
        assert_eq!(import(&place, 0, content), "note: id is ignored\n4 users added, 0 lines failed\n");
        let node = place.node().await;
        for name in ["passlib", "bcrypt", "argon, 2"] {
            assert!(!can_log_in(&node, name, "12345").await, "{name}");
            assert!(can_log_in(&node, name, "1234").await, "{name}");
            assert!(account(&node, name).await.password.is_current(), "{name} is rehashed");
            assert_eq!(account(&node, name).await.is_admin, name == "passlib");
        }
        assert!(!can_log_in(&node, "gone", "1234").await);
        assert!(account(&node, "gone").await.is_disabled);
    }
}

#[test]
fn bad_lines_of_json_are_named_and_the_rest_goes_in() {
    let place = Place::with_user("taken");
    let lines = [
        format!(r#"{{"username":"a","hash":"{BCRYPT}"}}"#),
        r#"{"username":"b""#.to_owned(),
        r#"["b"]"#.to_owned(),
        format!(r#"{{"hash":"{BCRYPT}"}}"#),
        r#"{"username":"b"}"#.to_owned(),
        format!(r#"{{"username":7,"hash":"{BCRYPT}"}}"#),
        r#"{"username":"b","password":"hunter2"}"#.to_owned(),
        r#"{"username":"b","hash":"$2b$06$tooshort"}"#.to_owned(),
        format!(r#"{{"username":"b","hash":"{BCRYPT}","password":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"b","hash":"{BCRYPT}","is_admin":"maybe"}}"#),
        format!(r#"{{"username":"b","hash":"{BCRYPT}","disabled":2}}"#),
        format!(r#"{{"username":"\u001b[2J","hash":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"{}","hash":"{BCRYPT}"}}"#, "b".repeat(81)),
        "x".repeat(100_000),
        String::new(),
        format!(r#"{{"username":"taken","hash":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"a","hash":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"last","hash":"{BCRYPT}"}}"#),
    ];
    let said = import(&place, 1, lines.join("\n"));
    assert!(!said.contains("hunter2"));
    insta::assert_snapshot!(said, @"
    line 2: not a JSON object (column 15)
    line 3: not a JSON object (column 0)
    line 4: no username
    line 5: no password_hash
    line 6: username is not text
    line 7: password_hash: not a supported hash: argon2id, argon2i, bcrypt, PBKDF2 or scrypt
    line 8: password_hash: not a well-formed bcrypt hash
    line 9: both password and hash, of which one is needed
    line 10: is_admin is neither true nor false
    line 11: disabled is neither true nor false
    line 12: username: control characters are not allowed
    line 13: username: longer than maximum length 80
    line 14: longer than 16384 bytes
    line 16: a user with the name taken already exists
    line 17: a user with the name a already exists
    2 users added, 15 lines failed
    ");
}

#[test]
fn bad_lines_of_csv_are_named_and_the_rest_goes_in() {
    let place = Place::empty();
    let mut content =
        format!("username,hash\na,{BCRYPT}\nb\nb,{BCRYPT},more\n\"b\n\",{BCRYPT}\n,{BCRYPT}\nb,\n").into_bytes();
    content.extend(b"\xff\xfe,x\n");
    content.extend(format!("{},{BCRYPT}\n", "b".repeat(20_000)).bytes());
    content.extend(format!("\"l\"\"ast\",\"{BCRYPT}\"").bytes());
    insta::assert_snapshot!(import(&place, 1, content), @"
    line 3: expected 2 values, found 1
    line 4: expected 2 values, found 3
    line 5: a quotation mark is not closed; a value must not contain a line break
    line 6: a quotation mark is not closed; a value must not contain a line break
    line 7: no username
    line 8: no password_hash
    line 9: not UTF-8
    line 10: longer than 16384 bytes
    2 users added, 8 lines failed
    ");
    let names: Vec<_> =
        place.run(&["user", "list", "--json"]).objects().iter().map(|user| user["username"].clone()).collect();
    assert_eq!(names, ["a", "l\"ast"]);
}

#[test]
fn columns_that_can_not_be_used_are_said_at_once() {
    let place = Place::empty();
    for (content, message) in [
        (format!("jose,{BCRYPT}\n"), "invalid header line: no username"),
        ("username,email\n".to_owned(), "invalid header line: no password_hash"),
        ("x".repeat(20_000), "invalid header line: longer than 16384 bytes"),
    ] {
        place.write("users", content);
        let done = place.run(&["user", "import", "users", "--format", "csv", "--create"]);
        assert_eq!((done.status, done.stderr), (1, format!("error: {message}\n")));
    }
}

#[test]
fn machines_are_told_in_objects() {
    let place = Place::empty();
    let done = place.run_with(
        &["user", "import", "-", "--json", "--create"],
        format!("username,hash\na,{BCRYPT}\nb,bad\na,{BCRYPT}\n").as_bytes(),
    );
    assert_eq!((done.status, done.stderr.as_str()), (1, ""));
    insta::assert_snapshot!(done.stdout, @r#"
    {"error":"password_hash: not a supported hash: argon2id, argon2i, bcrypt, PBKDF2 or scrypt","line":3}
    {"error":"a user with the name a already exists","line":4}
    {"added":1,"failed":2}
    "#);
}

#[test]
fn many_users_go_in_and_progress_is_told_when_asked_for() {
    let place = Place::empty();
    let lines: String = (0..2_500).map(|number| format!("user{number},{BCRYPT}\n")).collect();
    let input = format!("username,hash\n{lines}");
    let done = place.run_with(&["user", "import", "-", "--progress", "--create"], input.as_bytes());
    insta::assert_snapshot!(done.stderr + &done.stdout, @"
    1001 lines read
    2001 lines read
    2501 lines read
    2500 users added, 0 lines failed
    ");
    let again = place.run_with(&["user", "import", "-"], input.as_bytes());
    assert_eq!((again.status, again.stdout.as_str()), (1, "0 users added, 2500 lines failed\n"));
    assert!(again.stderr.starts_with("line 2: a user with the name user0 already exists\n"));
}

#[test]
fn nothing_is_nothing() {
    for content in ["", "\n\n", "username,hash\n"] {
        assert_eq!(import(&Place::empty(), 0, content), "0 users added, 0 lines failed\n");
    }
}
