//! `adieu revoke` by key and by claim, and the keys that `adieu key remove` revokes.

use adieu::{revocation::Target, time::Timestamp};

use crate::support::{Place, log_in};

async fn targets(place: &Place) -> Vec<(Target, Timestamp)> {
    let log = place.node().await.core.log().read(None, std::time::Duration::ZERO).await.unwrap();
    log.entries.into_iter().map(|entry| (entry.target, entry.lapses_at)).collect()
}

#[tokio::test]
async fn a_claim_must_be_revocable() {
    let place = Place::with_user("jose");
    place.write("adieu.toml", "revocable_claims = ['tenant']");
    let revoke = |claim: &str, more: &[&str]| {
        place.run(&[&["revoke", "--config", "adieu.toml", "--yes", "--claim", claim], more].concat())
    };
    insta::assert_snapshot!(revoke("device=7", &[]).failed(), @"device is not one of the revocable_claims of adieu in the settings");
    insta::assert_snapshot!(revoke("tenant=acme", &["--issuer", "shop"]).failed(), @"tenant is not one of the revocable_claims of shop in the settings");
    insta::assert_snapshot!(revoke("tenant=acme=1", &["--json"]).succeeded().stdout, @r#"{"claim":{"name":"tenant","value":"acme=1"},"revoked":"claim","sessions_ended":0,"subject":null}"#);
    insta::assert_snapshot!(revoke("tenant=acme", &[]).succeeded().stdout, @"revoked every token with tenant=acme; 0 sessions ended");
    let values: Vec<_> = targets(&place).await.into_iter().map(|(target, _)| target.parts().id.to_owned()).collect();
    assert_eq!(values, ["tenant\u{1f}acme=1", "tenant\u{1f}acme"]);
}

#[tokio::test]
async fn a_key_is_revoked_for_ever_and_a_key_of_the_server_is_removed() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let own = node.core.signing_key().key_id().unwrap().clone();
    let pair = log_in(&node, "jose", "curl").await;
    drop(node);
    let refused = place.run(&["revoke", "--yes", "--key", own.as_str()]).failed();
    assert_eq!(refused.trim_end(), format!("{own} is a key of this server; remove it with `adieu key remove`"));
    let revoked = place.run(&["revoke", "--yes", "--key", "kid-1", "--issuer", "shop"]).succeeded().stdout;
    insta::assert_snapshot!(revoked, @"revoked every token of the key kid-1; 0 sessions ended");
    place.run(&["key", "remove", "kid-1"]).failed();
    place.run(&["key", "remove", own.as_str()]).succeeded();
    assert_eq!(place.run_with(&["token", "inspect"], pair.access.as_bytes()).status, 1);
    let expected = [("kid-1", Timestamp::MAX), (own.as_str(), Timestamp::MAX)];
    let targets = targets(&place).await;
    let found: Vec<_> = targets.iter().map(|(target, lapses_at)| (target.parts().id, *lapses_at)).collect();
    assert_eq!(found, expected);
}
