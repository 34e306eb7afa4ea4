//! `adieu user import`: imports users from other software, all of them or none, unless asked otherwise.
//!
//! The hashes are made with passlib, bcrypt and argon2-cffi; the exports by `password_hashes/make.py`.

use serde_json::json;

use crate::support::{Place, account, can_log_in};

const PASSLIB: &str = "$pbkdf2-sha256$29000$oDQGACCEMEZI6X3vXcsZ4w$Db3pJ3z5tRr1j9iFgW6zfLkoWjZEx7P3Ot9lzjIoLM4";
const BCRYPT: &str = "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m";
const ARGON2: &str =
    "$argon2id$v=19$m=65536,t=3,p=4$oS/kRFvtm87PJcAxQBeeFA$WJjHFcRXy7Xm55abvbbvevNEesWsOAX0Csyt0a4WMKw";

/// Returns standard error, then standard output.
fn import(place: &Place, status: i32, content: impl AsRef<[u8]>) -> String {
    import_with(place, status, content, &[])
}

fn import_with(place: &Place, status: i32, content: impl AsRef<[u8]>, options: &[&str]) -> String {
    place.write("users", content);
    let done = place.run(&[&["user", "import", "users", "--create"], options].concat());
    assert_eq!(done.status, status, "{}{}", done.stderr, done.stdout);
    done.stderr + &done.stdout
}

fn names(place: &Place) -> Vec<String> {
    let users = place.run(&["user", "list", "--json"]).objects();
    users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
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

/// Two readers of the file could choose different values.
#[test]
fn a_member_or_a_column_that_occurs_twice_is_rejected() {
    let place = Place::empty();
    let json = format!(r#"{{"username":"a","hash":"{BCRYPT}","is_admin":false,"is_admin":true}}"#);
    assert_eq!(import(&place, 1, json), "line 1: a member occurs twice\n0 users added, 1 line failed\n");
    let csv = format!("username,is_admin,is_admin,hash\na,true,false,{BCRYPT}\n");
    assert_eq!(import(&place, 1, csv), "error: invalid header line: a column occurs twice\n");
    assert!(names(&place).is_empty());
}

#[test]
fn bad_lines_of_json_are_named() {
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
        "x".repeat(200_000),
        String::new(),
        format!(r#"{{"username":"taken","hash":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"a","hash":"{BCRYPT}"}}"#),
        format!(r#"{{"username":"last","hash":"{BCRYPT}"}}"#),
    ];
    let dry = import_with(&place, 1, lines.join("\n"), &["--dry-run"]);
    let said = import(&place, 1, lines.join("\n"));
    assert!(!said.contains("hunter2"));
    let (errors, summary) = said.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(summary, "0 users added, 15 lines failed; with --skip-invalid, 2 users can be added");
    assert_eq!(dry, format!("{errors}\n2 users can be added, 15 lines failed\n"));
    assert_eq!(names(&place), ["taken"]);
    let skipped = import_with(&place, 1, lines.join("\n"), &["--skip-invalid"]);
    assert_eq!(
        skipped,
        errors.replace("line 1 has the name a too", "a user with the name a already exists")
            + "\n2 users added, 15 lines failed\n"
    );
    assert_eq!(names(&place), ["taken", "a", "last"]);
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
    line 14: longer than 65536 bytes
    line 16: a user with the name taken already exists
    line 17: line 1 has the name a too
    0 users added, 15 lines failed; with --skip-invalid, 2 users can be added
    ");
}

#[test]
fn bad_lines_of_csv_are_named_and_skipped_if_asked_for() {
    let place = Place::empty();
    let mut content =
        format!("username,hash\na,{BCRYPT}\nb\nb,{BCRYPT},more\n\"b\n\",{BCRYPT}\n,{BCRYPT}\nb,\n").into_bytes();
    content.extend(b"\xff\xfe,x\n");
    content.extend(format!("{},{BCRYPT}\n", "b".repeat(70_000)).bytes());
    content.extend(format!("\"l\"\"ast\",\"{BCRYPT}\"").bytes());
    insta::assert_snapshot!(import_with(&place, 1, content, &["--skip-invalid"]), @"
    line 3: expected 2 values, found 1
    line 4: expected 2 values, found 3
    line 5: a quotation mark is not closed; a value must not contain a line break
    line 6: a quotation mark is not closed; a value must not contain a line break
    line 7: no username
    line 8: no password_hash
    line 9: not UTF-8
    line 10: longer than 65536 bytes
    2 users added, 8 lines failed
    ");
    assert_eq!(names(&place), ["a", "l\"ast"]);
}

#[test]
fn columns_that_can_not_be_used_are_said_at_once() {
    let place = Place::empty();
    for (content, message) in [
        (format!("jose,{BCRYPT}\n"), "invalid header line: no username"),
        ("username,email\n".to_owned(), "invalid header line: no password_hash"),
        ("x".repeat(70_000), "invalid header line: longer than 65536 bytes"),
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
    {"error":"line 2 has the name a too","line":4}
    {"added":0,"failed":2,"skipped":0,"valid":1}
    "#);
}

#[test]
fn many_users_go_in_and_progress_is_told_when_asked_for() {
    let lines: String = (0..2_500).map(|number| format!("user{number},{BCRYPT}\n")).collect();
    let input = format!("username,hash\n{lines}");
    for options in [&["--create"] as &[&str], &["--create", "--skip-invalid"]] {
        let place = Place::empty();
        let done = place.run_with(&[&["user", "import", "-", "--progress"], options].concat(), input.as_bytes());
        insta::allow_duplicates! {
            insta::assert_snapshot!(done.stderr + &done.stdout, @"
            1001 lines read
            2001 lines read
            2501 lines read
            2500 users added, 0 lines failed
            ");
        }
        let again = place.run_with(&["user", "import", "-", "--skip-invalid"], input.as_bytes());
        assert_eq!((again.status, again.stdout.as_str()), (1, "0 users added, 2500 lines failed\n"));
        assert!(again.stderr.starts_with("line 2: a user with the name user0 already exists\n"));
    }
}

#[test]
fn too_many_for_one_transaction_are_not_begun() {
    let place = Place::empty();
    let lines: String = (0..100_001).map(|number| format!("user{number},{BCRYPT}\n")).collect();
    place.write("users", format!("username,hash\n{lines}"));
    insta::assert_snapshot!(place.run(&["user", "import", "users", "--create"]).failed(), @"more than 100000 users are not added in one transaction; nothing was added: check them with --dry-run, and add them with --skip-invalid");
    assert_eq!(names(&place), Vec::<String>::new());
}

#[test]
fn a_dry_run_creates_nothing() {
    let place = Place::empty();
    let said = import_with(&place, 0, format!("username,hash\na,{BCRYPT}\n"), &["--dry-run"]);
    assert_eq!(said, "1 user can be added, 0 lines failed\n");
    assert!(!place.path("data").exists());
    place.add("a");
    let said = import_with(&place, 1, format!("username,hash\na,{BCRYPT}\n"), &["--dry-run"]);
    assert_eq!(said, "line 2: a user with the name a already exists\n0 users can be added, 1 line failed\n");
}

/// Reads an export, and expects that these users can log in with 1234, and that those are disabled.
async fn export(options: &[&str], content: &str, can: &[&str], disabled: &[&str]) -> String {
    let place = Place::empty();
    place.write("hash-config.txt", include_str!("../password_hashes/firebase-hash-config.txt"));
    let said = import_with(&place, 0, content, options);
    let mut all: Vec<&str> = [can, disabled].concat();
    let mut added = names(&place);
    all.sort_unstable();
    added.sort_unstable();
    assert_eq!(added, all);
    let node = place.node().await;
    for name in can {
        assert!(!account(&node, name).await.password.is_current());
        assert!(!can_log_in(&node, name, "12345").await, "{name}");
        let password = if name.starts_with("published") { "user1password" } else { "1234" };
        assert!(can_log_in(&node, name, password).await, "{name}");
        let account = account(&node, name).await;
        assert!(account.password.is_current(), "{name} is rehashed");
        assert!(!account.is_admin, "what an administrator may do differs");
        assert!(can_log_in(&node, name, password).await, "{name}");
    }
    for name in disabled {
        assert!(account(&node, name).await.is_disabled, "{name}");
    }
    said
}

#[tokio::test]
async fn an_export_of_django_is_read_in_both_formats() {
    let can = ["pbkdf2", "argon2", "bcrypt", "scrypt"];
    for (content, rest) in [
        (include_str!("../password_hashes/django.json"), "0 users failed, 1 user skipped"),
        (include_str!("../password_hashes/django.jsonl"), "0 lines failed, 1 line skipped"),
    ] {
        let said = export(&["--format", "django"], content, &can, &["inactive"]).await;
        let (skipped, summary) = said.split_once('\n').unwrap();
        assert!(skipped.ends_with(": skipped: has no password"), "{skipped}");
        assert_eq!(summary, format!("5 users added, {rest}\n"));
    }
}

#[test]
fn a_user_of_a_document_in_one_line_is_named_by_its_number() {
    let place = Place::empty();
    let password = "pbkdf2_sha256$1000$ef9cb244542a0e53dd3b87$N4x7KYEV62ZAzk7HW9ksI4Oh/mecwt23q2aPIN50yJg=";
    let user = |name| {
        json!({"model": "auth.user", "fields": {"username": name, "password": password, "is_active": true}}).to_string()
    };
    place.write("users", format!("[{},{{}},{},{}]", user("a"), user("b"), user("a")));
    let import = ["user", "import", "users", "--format", "django", "--create", "--json"];
    insta::assert_snapshot!(place.run(&import).stdout, @r#"
    {"entry":2,"error":"not a user as Django exports it","line":1}
    {"entry":4,"error":"entry 1 (line 1) has the name a too","line":1}
    {"added":0,"failed":2,"skipped":0,"valid":2}
    "#);
}

#[tokio::test]
async fn an_export_of_keycloak_is_read() {
    let content = include_str!("../password_hashes/keycloak.json");
    let can = ["argon2", "sha512", "sha256", "sha256-of-32-bytes", "sha1"];
    insta::assert_snapshot!(export(&["--format", "keycloak"], content, &can, &["off"]).await, @"
    entry 7 (line 175): skipped: has no password
    6 users added, 0 users failed, 1 user skipped
    ");
}

#[tokio::test]
async fn an_export_of_firebase_is_read_with_the_parameters_of_the_project() {
    let content = include_str!("../password_hashes/firebase.json");
    let can = ["published@example.com", "own@example.com"];
    let options = ["--format", "firebase", "--hash-config", "hash-config.txt"];
    insta::assert_snapshot!(export(&options, content, &can, &["off@example.com"]).await, @"
    entry 4 (line 36): skipped: has no password
    entry 5 (line 44): skipped: has no password
    3 users added, 0 users failed, 2 users skipped
    ");
}

#[tokio::test]
async fn an_export_of_auth0_is_read() {
    let content = include_str!("../password_hashes/auth0.ndjson");
    let can = [
        "bcrypt@example.com",
        "identifiers@example.com",
        "custom-argon2@example.com",
        "custom-bcrypt@example.com",
        "custom-pbkdf2@example.com",
        "custom-scrypt@example.com",
    ];
    insta::assert_snapshot!(export(&["--format", "auth0"], content, &can, &[]).await, @"
    line 7: skipped: has no password
    6 users added, 0 lines failed, 1 line skipped
    ");
}

/// Runs the commands of `docs/import.md`, each on an export of the software that its section is about.
#[test]
fn the_commands_in_the_documentation_work() {
    let page = include_str!("../../../../docs/import.md");
    let werkzeug: String = include_str!("../password_hashes/hashes.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|made| made["made_by"].as_str().unwrap().starts_with("werkzeug"))
        .enumerate()
        .map(|(number, made)| format!("user {number},{}\n", made["hash"].as_str().unwrap()))
        .collect();
    let mut seen = Vec::new();
    for section in page.split("\n## ") {
        let place = Place::with_user("jose");
        let title = section.lines().next().unwrap();
        match title {
            "Flask and Werkzeug" => place.write("users.csv", format!("username,password_hash\n{werkzeug}")),
            "Django" => place.write("users.json", include_str!("../password_hashes/django.json")),
            "Keycloak" => place.write("realm.json", include_str!("../password_hashes/keycloak.json")),
            "Firebase" => place.write("users.json", include_str!("../password_hashes/firebase.json")),
            "Auth0" => place.write("users.ndjson", include_str!("../password_hashes/auth0.ndjson")),
            _ => {}
        }
        place.write("config.txt", include_str!("../password_hashes/firebase-hash-config.txt"));
        let blocks = section.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        for command in blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("adieu ")) {
            let done = place.run(&command.split(' ').collect::<Vec<_>>());
            assert_eq!(done.status, 0, "{command}: {}", done.stderr);
            if !command.contains("--dry-run") {
                assert!(names(&place).len() > 3, "{command}: {}", done.stdout);
                seen.push(title);
            }
        }
    }
    assert_eq!(seen, ["Flask and Werkzeug", "Django", "Keycloak", "Firebase", "Auth0"]);
}

#[test]
fn an_export_that_is_none_is_named_by_its_line() {
    let place = Place::with_user("taken");
    place.write("hash-config.txt", include_str!("../password_hashes/firebase-hash-config.txt"));
    place.write("no-key.txt", "hash_config {\n algorithm: SCRYPT,\n rounds: 8\n}");
    place.write("other.txt", "algorithm: BCRYPT");
    place.write("not-base64.txt", "algorithm: SCRYPT\nbase64_signer_key: hunter2");
    let keycloak = |algorithm: &str| {
        let data = format!(r#"{{\"hashIterations\":5,\"algorithm\":\"{algorithm}\",\"additionalParameters\":{{}}}}"#);
        let secret = r#"{\"value\":\"aHVudGVyMg==\",\"salt\":\"\"}"#;
        format!(
            r#"{{"username":"a","credentials":[{{"type":"password","credentialData":"{data}","secretData":"{secret}"}}]}}"#
        )
    };
    let firebase = ["firebase", "--hash-config", "hash-config.txt"];
    let deep = format!(r#"[{}]"#, "[".repeat(200));
    let long = format!("[\n{{\"fields\":{{\"password\":\"{}\"}}}}]", "x".repeat(70_000));
    let cases: Vec<(&[&str], String)> = vec![
        (&["django"], String::new()),
        (&["django"], "[".to_owned()),
        (&["django"], "[\n1,\n{}, {\"fields\": {}},\n{\"fields\": {\"password\": 1}}\n]".to_owned()),
        (&["django"], "[\n{\"fields\":{\"password\":\"hunter2\",\"username\":\"a\"}},\n{\"fields\":{\"password\":\"x\"}}".to_owned()),
        (&["django"], format!("[] {BCRYPT}")),
        (&["django"], format!("username,password\na,{BCRYPT}")),
        (&["django"], deep),
        (&["django"], long),
        (&["keycloak"], String::new()),
        (&["keycloak"], "{}".to_owned()),
        (&["keycloak"], r#"{"users": 7}"#.to_owned()),
        (&["keycloak"], "7".to_owned()),
        (&["keycloak"], format!("{{\"users\": [\n\n{}\n]}}", keycloak("bcrypt"))),
        (&["keycloak"], format!("{{\"users\": [{},{}]}}", keycloak("pbkdf2"), keycloak("argon2"))),
        (&["keycloak"], r#"{"users": [{"username": "a"}]"#.to_owned()),
        (&["keycloak"], "{\"users\": [],\n\"users\": [{\"username\": \"taken\"}, {}]}".to_owned()),
        (&["firebase"], "{}".to_owned()),
        (&["firebase", "--hash-config", "missing.txt"], "{}".to_owned()),
        (&["firebase", "--hash-config", "no-key.txt"], "{}".to_owned()),
        (&["firebase", "--hash-config", "other.txt"], "{}".to_owned()),
        (&["firebase", "--hash-config", "not-base64.txt"], "{}".to_owned()),
        (&firebase, r#"{"users": [{"email": "a@example.com", "passwordHash": "aHVudGVyMg==", "salt": ""}]}"#.to_owned()),
        (&firebase, format!(r#"{{"users": [{{"passwordHash": "{}==", "salt": ""}}]}}"#, "A".repeat(86))),
        (&["auth0"], format!("{{\"email\":\"a\",\"passwordHash\":\"hunter2\"}}\n\n{{\"passwordHash\":\"{BCRYPT}\"}}\nhunter2")),
        (&["auth0"], r#"{"email":"a","custom_password_hash":{"algorithm":"md5","hash":{"value":"hunter2"}}}"#.to_owned()),
        (&["auth0"], r#"{"email":"a","custom_password_hash":{"algorithm":"scrypt","hash":{"value":"hunter2"}}}"#.to_owned()),
        (&["auth0"], r#"{"email":"a","custom_password_hash":{"algorithm":"scrypt","cost":3,"blockSize":8,"parallelization":1,"hash":{"value":"aa","encoding":"hex"},"salt":{"value":""}}}"#.to_owned()),
    ];
    let said = cases.into_iter().map(|(options, content)| {
        place.write("users", &content);
        let done = place.run(&[&["user", "import", "users", "--format"], options].concat());
        let said = done.stderr.lines().chain(done.stdout.lines()).take(6).collect::<Vec<_>>().join("\n  ");
        assert!(!said.contains("hunter2"), "{said}");
        let shown: String = content.chars().take(60).collect();
        format!("{} {shown:?}\n  {said}", options.join(" "))
    });
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"), @r#"
    django ""
      0 users added, 0 lines failed
    django "["
      error: invalid JSON in line 1, column 1
    django "[\n1,\n{}, {\"fields\": {}},\n{\"fields\": {\"password\": 1}}\n]"
      entry 1 (line 2): not a user as Django exports it
      entry 2 (line 3): not a user as Django exports it
      entry 4 (line 4): not a user as Django exports it
      0 users added, 3 users failed
    django "[\n{\"fields\":{\"password\":\"hunter2\",\"username\":\"a\"}},\n{\"fields"
      entry 1 (line 2): password_hash: not a supported hash: argon2id, argon2i, bcrypt, PBKDF2 or scrypt
      entry 2 (line 3): no username
      error: invalid JSON in line 3, column 27
    django "[] $2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNIt"
      error: invalid JSON in line 1, column 4
    django "username,password\na,$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3t"
      line 1: not a JSON object (column 1)
      line 2: not a JSON object (column 1)
      0 users added, 2 lines failed
    django "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
      error: invalid JSON in line 1, column 128
    django "[\n{\"fields\":{\"password\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
      error: entry 1 (line 2) is longer than 65536 bytes
    keycloak ""
      error: invalid JSON in line 1, column 0
    keycloak "{}"
      error: no array of users in the input
    keycloak "{\"users\": 7}"
      error: no array of users in the input
    keycloak "7"
      error: no array of users in the input
    keycloak "{\"users\": [\n\n{\"username\":\"a\",\"credentials\":[{\"type\":\"passwor"
      entry 1 (line 3): the password was hashed by an algorithm that is not supported
      0 users added, 1 user failed
    keycloak "{\"users\": [{\"username\":\"a\",\"credentials\":[{\"type\":\"password\""
      entry 1 (line 1): password_hash: not a well-formed PBKDF2 hash
      entry 2 (line 1): not a user as Keycloak exports it
      0 users added, 2 users failed
    keycloak "{\"users\": [{\"username\": \"a\"}]"
      entry 1 (line 1): skipped: has no password
      error: invalid JSON in line 1, column 29
    keycloak "{\"users\": [],\n\"users\": [{\"username\": \"taken\"}, {}]}"
      entry 1 (line 2): skipped: has no password
      entry 2 (line 2): not a user as Keycloak exports it
      0 users added, 1 user failed, 1 user skipped
    firebase "{}"
      error: the following required arguments were not provided:
        --hash-config <FILE>
      
      Usage: adieu user import --format <FORMAT> --hash-config <FILE> <FILE>
      
      For more information, try '--help'.
    firebase --hash-config missing.txt "{}"
      error: cannot read missing.txt: No such file or directory (os error 2)
    firebase --hash-config no-key.txt "{}"
      error: no base64_signer_key in the hash parameters of the project
    firebase --hash-config other.txt "{}"
      error: invalid algorithm in the hash parameters of the project
    firebase --hash-config not-base64.txt "{}"
      error: invalid base64_signer_key in the hash parameters of the project
    firebase --hash-config hash-config.txt "{\"users\": [{\"email\": \"a@example.com\", \"passwordHash\": \"aHVud"
      entry 1 (line 1): not a user as Firebase exports it
      0 users added, 1 user failed
    firebase --hash-config hash-config.txt "{\"users\": [{\"passwordHash\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      entry 1 (line 1): no email
      0 users added, 1 user failed
    auth0 "{\"email\":\"a\",\"passwordHash\":\"hunter2\"}\n\n{\"passwordHash\":\"$2b"
      line 1: password_hash: not a supported hash: argon2id, argon2i, bcrypt, PBKDF2 or scrypt
      line 3: no email
      line 4: not a JSON object (column 1)
      0 users added, 3 lines failed
    auth0 "{\"email\":\"a\",\"custom_password_hash\":{\"algorithm\":\"md5\",\"hash"
      line 1: the password was hashed by an algorithm that is not supported
      0 users added, 1 line failed
    auth0 "{\"email\":\"a\",\"custom_password_hash\":{\"algorithm\":\"scrypt\",\"h"
      line 1: not a user as Auth0 exports it
      0 users added, 1 line failed
    auth0 "{\"email\":\"a\",\"custom_password_hash\":{\"algorithm\":\"scrypt\",\"c"
      line 1: not a user as Auth0 exports it
      0 users added, 1 line failed
    "#);
    assert_eq!(names(&place), ["taken"]);
}

#[test]
fn nothing_is_nothing() {
    for content in ["", "\n\n", "username,hash\n"] {
        assert_eq!(import(&Place::empty(), 0, content), "0 users added, 0 lines failed\n");
    }
}
