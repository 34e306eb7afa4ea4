//! `adieu alias`

use insta::assert_snapshot;

use crate::support::Place;

const ISSUER: &str = "https://login.example";

/// A store, and the settings of a server that trusts an issuer.
fn place() -> Place {
    let place = Place::with_user("boss");
    place.write("secret", "a secret of at least 256 bits......");
    place.write(
        "adieu.toml",
        format!("audit_log = 'audit.jsonl'\n[[trusted_issuer]]\nname = '{ISSUER}'\nsecret_file = 'secret'\n"),
    );
    place
}

fn with_issuer<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--issuer", ISSUER, "--config", "adieu.toml"]].concat()
}

#[test]
fn aliases_are_added_listed_and_removed() {
    let place = place();
    let add = |subject, format, value| {
        place.run(&with_issuer(&["alias", "add", format, value, "--subject", subject])).succeeded().redacted()
    };
    assert_snapshot!(add("jose", "email", "Jose@Example.com"), @"added the email jose@example.com of the subject jose of https://login.example");
    add("ana", "email", "jose@example.com");
    add("ana", "phone_number", "+44 20-7946 0");
    let json = with_issuer(&["alias", "add", "did", "did:example:1", "--subject", "ana", "--json"]);
    assert_snapshot!(place.run(&json).succeeded().redacted(), @r#"{"format":"did","issuer":"https://login.example","seen_at":SECONDS___,"subject":"ana","value":"did:example:1"}"#);
    assert_snapshot!(place.run(&["alias", "list"]).succeeded().redacted(), @"
    ISSUER                 FORMAT        VALUE             SUBJECT  LAST SEEN
    https://login.example  did           did:example:1     ana      TIME________________
    https://login.example  email         jose@example.com  ana      TIME________________
    https://login.example  email         jose@example.com  jose     TIME________________
    https://login.example  phone_number  +442079460        ana      TIME________________
    ");
    let listed = place.run(&["alias", "list", "email", "JOSE@example.com", "--subject", "jose", "--json"]);
    assert_snapshot!(listed.succeeded().redacted(), @r#"{"format":"email","issuer":"https://login.example","seen_at":SECONDS___,"subject":"jose","value":"jose@example.com"}"#);
    assert_eq!(place.run(&["alias", "list", "--issuer", "https://other.example", "--json"]).succeeded().stdout, "");

    let remove = |words: &[&str]| place.run(&with_issuer(&[&["alias", "remove"], words].concat()));
    assert_snapshot!(remove(&["email", "jose@example.com", "--subject", "jose"]).succeeded().redacted(), @"removed 1 alias of https://login.example");
    assert_eq!(
        remove(&["email", "jose@example.com", "--subject", "jose"]).failed(),
        "there is no such alias of https://login.example"
    );
    assert_snapshot!(remove(&["--subject", "ana", "--json"]).succeeded().redacted(), @r#"{"removed":3}"#);
    assert_eq!(place.run(&["alias", "list", "--json"]).succeeded().stdout, "");

    // The audit trail says whose aliases, and not which.
    let trail = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = events
        .iter()
        .map(|event| ["event", "subject", "scope", "issuer"].map(|name| event[name].as_str().unwrap_or("-")).join(" "))
        .collect();
    assert_eq!(
        events,
        [
            "alias_added jose email https://login.example",
            "alias_added ana email https://login.example",
            "alias_added ana phone_number https://login.example",
            "alias_added ana did https://login.example",
            "aliases_removed jose email https://login.example",
            "aliases_removed ana - https://login.example",
        ]
    );
    assert!(!trail.contains("example.com"), "{trail}");
}

#[test]
fn what_can_not_be_an_alias_is_refused() {
    let place = place();
    let add = |words: &[&str]| {
        place.run(&[&["alias", "add"], words, &["--config", "adieu.toml", "--subject", "jose"]].concat())
    };
    assert_eq!(
        add(&["email", "jose@example.com", "--issuer", "https://other.example"]).failed(),
        "https://other.example is not a trusted_issuer of the settings"
    );
    let long = "x".repeat(513);
    assert_eq!(add(&["email", &long, "--issuer", ISSUER]).failed(), "an alias must not be longer than 512 bytes");
    assert_eq!(add(&["email", "", "--issuer", ISSUER]).failed(), "an alias must not be empty");
    for wrong in [
        vec!["alias", "add", "iss_sub", "jose", "--issuer", ISSUER, "--subject", "jose"],
        vec!["alias", "add", "email", "--issuer", ISSUER, "--subject", "jose"],
        vec!["alias", "remove", "--issuer", ISSUER],
        vec!["alias", "remove", "email", "--issuer", ISSUER],
        vec!["alias", "remove", "email", "jose@example.com"],
    ] {
        assert_eq!(place.run(&wrong).status, 2, "{wrong:?}");
    }
    assert_eq!(place.run(&["alias", "list", "--json"]).succeeded().stdout, "");
}

#[test]
fn an_alias_that_can_not_be_found_is_damage() {
    let place = place();
    place.run(&with_issuer(&["alias", "add", "email", "jose@example.com", "--subject", "jose"])).succeeded();
    let checked = place.run(&["store", "check", "--json"]).succeeded();
    assert_eq!(checked.object()["aliases"], 1);
    let store = rusqlite::Connection::open(place.path("data/adieu.sqlite")).unwrap();
    store.execute_batch("UPDATE alias SET value = 'Jose@example.com'").unwrap();
    drop(store);
    let told = place.run(&["store", "check"]).failed();
    assert!(told.contains("an alias is not in its canonical form"), "{told}");
}

#[test]
fn a_backup_has_the_aliases() {
    let place = place();
    place.run(&with_issuer(&["alias", "add", "email", "jose@example.com", "--subject", "jose"])).succeeded();
    place.run(&["store", "backup", "backup"]).succeeded();
    place.run(&with_issuer(&["alias", "remove", "email", "jose@example.com"])).succeeded();
    std::fs::remove_dir_all(place.path("data")).unwrap();
    place.run(&["store", "restore", "backup"]);
    assert!(place.run(&["alias", "list"]).succeeded().stdout.contains("jose@example.com"));
}
