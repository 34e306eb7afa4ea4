//! `adieu key`, `adieu completions`, `adieu man`.

use crate::support::Place;

#[test]
fn keys_are_listed_without_their_private_parts() {
    let place = Place::with_user("jose");
    insta::assert_snapshot!(place.run(&["key", "list"]).succeeded().redacted(), @"
    ID                                           ALGORITHM  CREATED               SIGNS  KEPT UNTIL
    KEY________________________________________  EdDSA      TIME________________  now    -
    ");
    insta::assert_snapshot!(place.run(&["key", "list", "--json"]).succeeded().redacted(), @r#"{"algorithm":"EdDSA","created_at":SECONDS___,"id":"KEY________________________________________","kept_until":null,"signs":true,"signs_from":0}"#);
}

#[test]
fn a_rotation_is_announced_and_a_removal_puts_another_in_its_place() {
    let place = Place::with_user("jose");
    let old = place.run(&["key", "list", "--json"]).succeeded().object()["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(place.run(&["key", "rotate"]).succeeded().redacted(), @"made the key KEY________________________________________ (EdDSA): published now, it signs from TIME________________ on");
    insta::assert_snapshot!(place.run(&["key", "list"]).succeeded().redacted(), @"
    ID                                           ALGORITHM  CREATED               SIGNS                      KEPT UNTIL
    KEY________________________________________  EdDSA      TIME________________  now                        TIME________________
    KEY________________________________________  EdDSA      TIME________________  from TIME________________  -
    ");
    let at_once = place.run(&["key", "rotate", "--algorithm", "ES256", "--after", "0s"]).succeeded();
    insta::assert_snapshot!(at_once.redacted(), @"made the key KEY________________________________________ (ES256): published now, it signs from now on");
    let listed = place.run(&["key", "list", "--json"]).succeeded();
    insta::assert_snapshot!(listed.redacted(), @r#"
    {"algorithm":"EdDSA","created_at":SECONDS___,"id":"KEY________________________________________","kept_until":SECONDS___,"signs":false,"signs_from":0}
    {"algorithm":"ES256","created_at":SECONDS___,"id":"KEY________________________________________","kept_until":SECONDS___,"signs":true,"signs_from":SECONDS___}
    {"algorithm":"EdDSA","created_at":SECONDS___,"id":"KEY________________________________________","kept_until":null,"signs":false,"signs_from":SECONDS___}
    "#);
    let ids: Vec<String> = listed.objects().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), &ids[0]), (3, &old));

    // A key that no longer signs, and the one that does.
    insta::assert_snapshot!(place.run(&["key", "remove", &old]).succeeded().redacted(), @"removed the key KEY________________________________________: every running node and every follower refuses what it has signed within 2s, and services that only take the keys from /.well-known/jwks.json when they read them next");
    insta::assert_snapshot!(place.run(&["key", "remove", &ids[1]]).succeeded().redacted(), @"removed the key KEY________________________________________: every running node and every follower refuses what it has signed within 2s, and services that only take the keys from /.well-known/jwks.json when they read them next; the new key KEY________________________________________ signs from now on");
    let removed = place.run(&["key", "remove", &ids[2], "--json"]).succeeded().object();
    assert_eq!((&removed["removed"], &removed["successor"]), (&ids[2].as_str().into(), &serde_json::Value::Null));
    insta::assert_snapshot!(place.run(&["key", "list"]).succeeded().redacted(), @"
    ID                                           ALGORITHM  CREATED               SIGNS  KEPT UNTIL
    KEY________________________________________  ES256      TIME________________  now    -
    ");
}

#[test]
fn a_key_that_is_not_there_and_an_algorithm_without_a_public_key_are_refused() {
    let place = Place::with_user("jose");
    let message = place.run(&["key", "remove", "unknown"]).failed();
    assert_eq!(message, "no key with the id unknown; `adieu key list` shows them");
    assert_eq!(place.run(&["key", "remove", "-x"]).failed(), "no key with the id -x; `adieu key list` shows them");
    for wrong in [&["--algorithm", "HS256"][..], &["--algorithm", "none"], &["--after", "soon"], &["--after", "1"]] {
        let done = place.run(&[&["key", "rotate"], wrong].concat());
        assert_eq!((done.status, done.stdout.as_str()), (2, ""), "{wrong:?}");
    }
    assert_eq!(place.run(&["key", "list", "--json"]).succeeded().objects().len(), 1);
}

#[test]
fn every_shell_gets_its_completions() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).succeeded().stdout;
        for word in ["serve", "import", "inspect", "revoke"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(place.run(&["completions", "cmd"]).status, 2);
}

#[test]
fn every_command_has_its_man_page() {
    let place = Place::empty();
    let folder = place.path("man");
    std::fs::create_dir(&folder).unwrap();
    place.run(&["man", folder.to_str().unwrap()]).succeeded();
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for (name, text) in
        [("adieu.1", "adieu\\-serve"), ("adieu-serve.1", "listen"), ("adieu-client-add.1", "capabilities")]
    {
        assert!(page(name).contains(text), "{name}");
    }
    assert!(!folder.join("adieu-man.1").exists(), "the command for packages is hidden");
}
