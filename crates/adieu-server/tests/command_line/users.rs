//! `adieu user`, except `import`.

use adieu_server::text::{Password, Username};

use crate::support::{Place, can_log_in, log_in, redact};

#[tokio::test]
async fn the_first_administrator_is_added_before_the_first_start() {
    let place = Place::empty();
    let added = place.run_with(&["user", "add", "José", "--admin", "--password-stdin"], "pässwörd\n".as_bytes());
    insta::assert_snapshot!(added.succeeded().redacted(), @"added the administrator José (UUID________________________________)");
    insta::assert_snapshot!(place.run(&["user", "list"]).succeeded().redacted(), @"
    ID                                    NAME  ADMIN  DISABLED  CREATED               LAST LOGIN
    UUID________________________________  José  yes    no        TIME________________  -
    ");

    let node = place.node().await;
    assert!(can_log_in(&node, "José", "pässwörd").await);
    assert!(!can_log_in(&node, "José", "pässwörd\n").await);
}

#[test]
fn users_are_listed_in_aligned_columns_and_as_objects() {
    let place = Place::with_user("josé");
    place.add("名前");
    let added = place.run_with(&["user", "add", "b", "--password-stdin", "--json"], b"1234").succeeded();
    insta::assert_snapshot!(added.redacted(), @r#"{"created_at":SECONDS___,"id":"UUID________________________________","is_admin":false,"is_disabled":false,"last_login_at":null,"must_change_password":false,"username":"b"}"#);
    place.run(&["user", "disable", "b"]).succeeded();
    insta::assert_snapshot!(place.run(&["user", "list"]).succeeded().redacted(), @"
    ID                                    NAME  ADMIN  DISABLED  CREATED               LAST LOGIN
    UUID________________________________  josé  no     no        TIME________________  -
    UUID________________________________  名前  no     no        TIME________________  -
    UUID________________________________  b     no     yes       TIME________________  -
    ");
    insta::assert_snapshot!(place.run(&["user", "list", "--json"]).succeeded().redacted(), @r#"
    {"created_at":SECONDS___,"id":"UUID________________________________","is_admin":false,"is_disabled":false,"last_login_at":null,"must_change_password":false,"username":"josé"}
    {"created_at":SECONDS___,"id":"UUID________________________________","is_admin":false,"is_disabled":false,"last_login_at":null,"must_change_password":false,"username":"名前"}
    {"created_at":SECONDS___,"id":"UUID________________________________","is_admin":false,"is_disabled":true,"last_login_at":null,"must_change_password":false,"username":"b"}
    "#);
}

#[test]
fn more_users_than_are_read_at_once_are_all_listed() {
    const HASH: &str = "$2b$06$ANOAYlLfRMEh3hbLCka9ceoMFs7d1BN3tvujFnWnBG271nsNItJ5m";
    let place = Place::empty();
    let lines: String = (0..1_201).map(|number| format!("user{number},{HASH}\n")).collect();
    let input = format!("username,hash\n{lines}");
    place.run_with(&["user", "import", "-", "--create"], input.as_bytes()).succeeded();
    assert_eq!(place.run(&["user", "list", "--json"]).succeeded().objects().len(), 1_201);
    let table = place.run(&["user", "list"]).succeeded().stdout;
    assert_eq!(table.lines().filter(|line| line.contains(" user")).count(), 1_201);
    assert_eq!(table.matches("NAME").count(), 1);
}

#[tokio::test]
async fn a_user_is_disabled_enabled_and_deleted_by_name_or_id() {
    let place = Place::empty();
    let id = place.add("jose");
    let node = place.node().await;

    insta::assert_snapshot!(place.run(&["user", "disable", "jose"]).succeeded().redacted(), @"disabled jose (UUID________________________________)");
    assert!(!can_log_in(&node, "jose", "1234").await);
    insta::assert_snapshot!(place.run(&["user", "enable", &id, "--json"]).succeeded().redacted(), @r#"{"done":"enabled","id":"UUID________________________________","username":"jose"}"#);
    assert!(can_log_in(&node, "jose", "1234").await);

    insta::assert_snapshot!(redact(&place.run(&["user", "delete", "jose"]).failed()), @"this would delete the user jose (UUID________________________________); say --yes if that is meant");
    assert!(can_log_in(&node, "jose", "1234").await, "not without --yes");
    insta::assert_snapshot!(place.run(&["user", "delete", "jose", "--yes"]).succeeded().redacted(), @"deleted jose (UUID________________________________)");
    assert!(!can_log_in(&node, "jose", "1234").await);
    for command in [&["user", "enable", "jose"][..], &["user", "delete", &id, "--yes"]] {
        let message = place.run(command).failed();
        assert!(message.starts_with("no user with the name or id "), "{message}");
    }
}

#[tokio::test]
async fn nobody_is_taken_for_another_by_having_the_others_id_as_a_name() {
    let place = Place::empty();
    let id = place.add("jose");
    place.add(&id);
    place.run(&["user", "disable", &id]).succeeded();
    let node = place.node().await;
    assert!(!can_log_in(&node, "jose", "1234").await);
    assert!(can_log_in(&node, &id, "1234").await);
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one() {
    let place = Place::with_user("jose");
    let changed = place.run_with(&["user", "passwd", "jose", "--password-stdin"], b"5678\r\n");
    insta::assert_snapshot!(changed.succeeded().redacted(), @"changed the password of jose (UUID________________________________)");
    let node = place.node().await;
    assert!(can_log_in(&node, "jose", "5678").await);
    assert!(!can_log_in(&node, "jose", "1234").await);
}

#[test]
fn what_can_not_be_a_user_is_refused_in_one_line() {
    let place = Place::with_user("jose");
    let add = |name: &str, password: &str| {
        place.run_with(&["user", "add", name, "--password-stdin"], password.as_bytes()).failed()
    };
    let refusals =
        [add("jose", "1234"), add("", "1234"), add("a\u{1b}[31m", "1234"), add("b", ""), add("b", "1\n2\n")].join("\n");
    insta::assert_snapshot!(refusals, @"
    a user with the name jose already exists
    the name is refused: shorter than minimum length 1
    the name is refused: control characters are not allowed
    the password is refused: shorter than minimum length 1
    there is more than one line on standard input, which should be the password only
    ");
    let long = "x".repeat(2_000);
    assert!(add("b", &long).contains("longer than maximum length 1024"));
    assert_eq!(place.run(&["user", "list", "--json"]).objects().len(), 1);
}

#[test]
fn a_password_is_not_an_argument_and_never_printed() {
    let place = Place::empty();
    assert_eq!(place.run(&["user", "add", "jose", "hunter2"]).status, 2);
    assert_eq!(place.run(&["user", "add", "jose", "--password", "hunter2"]).status, 2);
    assert_eq!(place.run(&["user", "add", "jose", "--password-stdin=hunter2"]).status, 2);
    assert!(!place.path("data").exists());

    for (command, input) in [
        (&["user", "add", "jose", "--password-stdin"][..], "hunter2"),
        (&["user", "add", "jose", "--password-stdin"], "hunter2"),
        (&["user", "passwd", "jose", "--password-stdin"], "hunter2"),
        (&["user", "passwd", "unknown", "--password-stdin"], "hunter2"),
        (&["user", "add", "b", "--password-stdin"], "hunter2\nhunter2"),
        (&["user", "list", "--json"], ""),
    ] {
        let done = place.run_with(command, input.as_bytes());
        for output in [done.stdout, done.stderr] {
            assert!(!output.contains("hunter2") && !output.contains("$argon2"), "{command:?}: {output}");
        }
    }
}

#[test]
fn two_commands_at_once_both_get_their_way() {
    let place = Place::empty();
    let children: Vec<_> = (0..4)
        .map(|number| {
            let mut child =
                place.command(&["user", "add", &format!("user{number}"), "--password-stdin"]).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"1234").unwrap();
            child
        })
        .collect();
    for child in children {
        crate::support::Done::from(child.wait_with_output().unwrap()).succeeded();
    }
    assert_eq!(place.run(&["user", "list", "--json"]).objects().len(), 4);
    assert_eq!(place.run(&["key", "list", "--json"]).objects().len(), 1);
}

#[test]
fn of_two_who_want_one_name_one_gets_it() {
    let place = Place::with_user("first");
    let mut children = Vec::new();
    for _ in 0..2 {
        let mut child = place.command(&["user", "add", "jose", "--password-stdin"]).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"1234").unwrap();
        children.push(child);
    }
    let mut outcomes: Vec<_> = children
        .into_iter()
        .map(|child| crate::support::Done::from(child.wait_with_output().unwrap()))
        .map(|done| (done.status, done.stderr))
        .collect();
    outcomes.sort();
    assert_eq!(outcomes[0], (0, String::new()));
    assert_eq!(outcomes[1], (1, "error: a user with the name jose already exists\n".to_owned()));
}

#[test]
fn a_new_name_shows_all_that_is_in_it() {
    let place = Place::empty();
    let refused = place.run_with(&["user", "add", "jo\u{200d}se", "--password-stdin"], b"1234").failed();
    assert_eq!(refused, "the name is refused: characters that can't be seen are not allowed");
}

#[tokio::test]
async fn users_are_found_by_name_last_login_and_what_they_are() {
    let place = Place::with_user("Jose");
    place.run_with(&["user", "add", "josephine", "--admin", "--password-stdin"], b"1234").succeeded();
    place.run(&["user", "disable", "Jose"]).succeeded();
    let node = place.node().await;
    log_in(&node, "josephine", "curl").await;
    node.close().await;
    let found = |options: &[&str]| {
        let users = place.run(&[&["user", "list", "--json"], options].concat()).succeeded().objects();
        users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (options, users) in [
        (&["--name", "JOSE"][..], "Jose josephine"),
        (&["--name", "phi"], "josephine"),
        (&["--admin"], "josephine"),
        (&["--admin=false"], "Jose"),
        (&["--disabled", "--name", "e"], "Jose"),
        (&["--disabled=false"], "josephine"),
        (&["--active-since", "1h"], "josephine"),
        (&["--active-since", "9999-12-31"], ""),
        (&["--inactive-since", "9999-12-31"], "Jose josephine"),
        (&["--inactive-since", "90d"], ""),
    ] {
        assert_eq!(found(options), users, "{options:?}");
    }
    let mut refusals = String::new();
    for options in [&["--name", ""][..], &["--disabled=no"], &["--inactive-since", "2026-02-30"]] {
        let done = place.run(&[&["user", "list"], options].concat());
        assert_eq!(done.status, 2);
        refusals += done.stderr.lines().next().unwrap();
        refusals += "\n";
    }
    insta::assert_snapshot!(refusals, @r#"
    error: invalid value '' for '--name <PART>': shorter than minimum length 1
    error: invalid value 'no' for '--disabled[=<BOOLEAN>]'
    error: invalid value '2026-02-30' for '--inactive-since <DATE|TIME>': not a date, such as "2026-11-29", or a time, such as "90d"
    "#);
}

#[test]
fn users_are_exported_for_an_import() {
    let place = Place::with_user("jose");
    place.run_with(&["user", "add", "a,\"b\"", "--admin", "--password-stdin"], b"1234").succeeded();
    place.run(&["user", "disable", "jose"]).succeeded();
    insta::assert_snapshot!(place.run(&["user", "export"]).succeeded().redacted(), @r#"
    {"created_at":SECONDS___,"id":"UUID________________________________","is_admin":false,"is_disabled":true,"last_login_at":null,"must_change_password":false,"username":"jose"}
    {"created_at":SECONDS___,"id":"UUID________________________________","is_admin":true,"is_disabled":false,"last_login_at":null,"must_change_password":false,"username":"a,\"b\""}
    "#);
    insta::assert_snapshot!(place.run(&["user", "export", "--csv", "--disabled"]).succeeded().redacted(), @r"
    id,username,is_admin,is_disabled,created_at,last_login_at,must_change_password
    UUID________________________________,jose,false,true,SECONDS___,,false
    ");
    place.run(&["user", "require-password-change", "jose"]).succeeded();
    for options in
        [&["user", "export", "--with-password-hashes"][..], &["user", "export", "--csv", "--with-password-hashes"]]
    {
        let exported = place.run(options).succeeded().stdout;
        assert_eq!(exported.matches("$argon2id$").count(), 2, "{exported}");
        let other = Place::empty();
        let imported = other.run_with(&["user", "import", "-", "--create", "--json"], exported.as_bytes());
        assert_eq!(imported.object()["added"], 2, "{}", imported.stderr);
        let of = |place: &Place| {
            let users = place.run(&["user", "list", "--json"]).succeeded().objects();
            users
                .iter()
                .map(|user| {
                    ["username", "is_admin", "is_disabled", "must_change_password"].map(|key| user[key].clone())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&other), of(&place));
    }
    assert_eq!(place.run(&["user", "export", "--csv", "--json"]).status, 2);
}

#[tokio::test]
async fn a_user_is_promoted_and_demoted() {
    let place = Place::with_user("jose");
    insta::assert_snapshot!(place.run(&["user", "promote", "jose"]).succeeded().redacted(), @"promoted jose (UUID________________________________)");
    let node = place.node().await;
    let pair = log_in(&node, "jose", "curl").await;
    assert_eq!(pair.claims.custom.get("is_admin"), Some(&true.into()));
    // On the command line the last administrator may go, because it can add another.
    insta::assert_snapshot!(place.run(&["user", "demote", "jose"]).succeeded().redacted(), @"demoted jose (UUID________________________________)");
    assert!(node.sessions.store().sessions_of(&pair.claims.subject, None, 10).await.unwrap().is_empty());
    assert_eq!(log_in(&node, "jose", "curl").await.claims.custom.get("is_admin"), None);
}

#[tokio::test]
async fn a_password_must_be_changed_before_the_next_login() {
    let place = Place::with_user("jose");
    insta::assert_snapshot!(place.run(&["user", "require-password-change", "jose"]).succeeded().redacted(), @"required a new password of jose (UUID________________________________)");
    let must_change = || place.run(&["user", "list", "--json"]).succeeded().object()["must_change_password"].clone();
    assert_eq!(must_change(), true);
    place.run_with(&["user", "passwd", "jose", "--password-stdin"], b"5678").succeeded();
    assert_eq!(must_change(), false);
    place.run_with(&["user", "passwd", "jose", "--password-stdin", "--must-change"], b"5678").succeeded();
    assert_eq!(must_change(), true);
}

#[tokio::test]
async fn an_invitation_is_printed_alone_listed_and_revoked() {
    let place = Place::with_user("jose");
    let code = place.run(&["user", "invite"]).succeeded().stdout;
    assert!(
        code.trim_end().len() == 43 && code.trim_end().chars().all(|letter| letter.is_ascii_alphanumeric()),
        "{code}"
    );
    let other = &place.run(&["user", "invite", "--expires", "1h", "--json"]).succeeded().objects()[0];
    assert_eq!(other["invite_code"].as_str().unwrap().len(), 43);
    let listed = place.run(&["user", "invites", "--json"]).succeeded().objects();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["id"], other["id"]);
    assert_eq!(listed[1]["expires_at"].as_u64().unwrap(), listed[1]["created_at"].as_u64().unwrap() + 3600);
    let id = other["id"].as_str().unwrap();
    place.run(&["user", "revoke-invite", id]).succeeded();
    place.run(&["user", "revoke-invite", id]).failed();
    assert_eq!(place.run(&["user", "invites"]).succeeded().stdout.lines().count(), 2, "a heading and the other");
    place.run(&["user", "invite", "--expires", "91d"]).failed();

    let accounts = &place.node().await.accounts;
    let (name, password) = (Username::new("ana").unwrap(), Password::typed("1234".into()).unwrap());
    accounts.add_invited(name, &password, code.trim_end(), [127, 0, 0, 1].into()).await.unwrap();
}

#[tokio::test]
async fn a_token_that_resets_a_password_is_printed_alone() {
    let place = Place::with_user("jose");
    let printed = place.run(&["user", "reset-token", "jose"]).succeeded().stdout;
    let (node, address) = (place.node().await, std::net::Ipv4Addr::LOCALHOST.into());
    let new = adieu_server::text::Password::typed("5678".into()).unwrap();
    node.accounts.reset_password(printed.trim_end(), &new, address).await.unwrap();
    assert!(can_log_in(&node, "jose", "5678").await);
    let object = place.run(&["user", "reset-token", "jose", "--json"]).succeeded().object();
    assert_eq!(object["expires_in"], 3600);
    place.run(&["user", "disable", "jose"]).succeeded();
    insta::assert_snapshot!(place.run(&["user", "reset-token", "jose"]).failed(), @"the user jose is disabled");
}
