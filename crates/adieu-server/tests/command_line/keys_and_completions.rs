//! `adieu key`, `adieu completions`.

use crate::support::Place;

#[test]
fn keys_are_listed_without_their_private_parts() {
    let place = Place::with_user("jose");
    insta::assert_snapshot!(place.run(&["key", "list"]).succeeded().redacted(), @"
    ID                                           ALGORITHM  CREATED               SIGNS
    KEY________________________________________  EdDSA      TIME________________  yes
    ");
    insta::assert_snapshot!(place.run(&["key", "list", "--json"]).succeeded().redacted(), @r#"{"algorithm":"EdDSA","created_at":SECONDS___,"id":"KEY________________________________________","signs":true}"#);
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
