//! `adieu client`

use adieu_server::clients::{Capability, ClientError};

use crate::support::Place;

#[tokio::test]
async fn a_client_is_added_before_the_first_start_and_its_secret_is_shown_once() {
    let place = Place::empty();
    let added = place.run(&["client", "add", "shop", "--capabilities", "revoke,follow", "--create"]).succeeded();
    insta::assert_snapshot!(added.redacted(), @"
    added the client shop, which can follow, revoke; its secret:
    KEY________________________________________
    ");
    let secret = added.stdout.lines().last().unwrap();
    let node = place.node().await;
    let client = node.clients.authenticate("shop", secret).await.unwrap();
    assert_eq!(client.can, [Capability::Follow, Capability::Revoke]);

    for name in std::fs::read_dir(place.path("data")).unwrap() {
        let bytes = std::fs::read(name.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "only its hash is kept");
    }
    assert!(!place.run(&["client", "list"]).succeeded().stdout.contains(secret));
}

#[test]
fn clients_are_listed_in_columns_and_as_objects() {
    let place = Place::empty();
    let added = place.run(&["client", "add", "shop", "--capabilities", "introspect", "--json", "--create"]).succeeded();
    insta::assert_snapshot!(added.redacted(), @r#"{"capabilities":["introspect"],"created_at":SECONDS___,"name":"shop","secret":"KEY________________________________________"}"#);
    place.run(&["client", "add", "feed-1", "--capabilities", "follow", "--capabilities", "revoke,follow"]).succeeded();
    insta::assert_snapshot!(place.run(&["client", "list"]).succeeded().redacted(), @"
    NAME    CAPABILITIES    QUOTA         HORIZON  CREATED               BACK-CHANNEL LOGOUT
    feed-1  follow, revoke  10000 per 1h  90d      TIME________________  -
    shop    introspect      -             -        TIME________________  -
    ");
    insta::assert_snapshot!(place.run(&["client", "list", "--json"]).succeeded().redacted(), @r#"
    {"capabilities":["follow","revoke"],"created_at":SECONDS___,"name":"feed-1","revocations":{"horizon_seconds":7776000,"quota":10000,"quota_period_seconds":3600}}
    {"capabilities":["introspect"],"created_at":SECONDS___,"name":"shop"}
    "#);
}

#[test]
fn a_relying_party_has_a_url_that_may_be_asked() {
    let place = Place::empty();
    let add = |name, uri, more: &[&str]| {
        place.run(&[&["client", "add", name, "--backchannel-logout-uri", uri, "--create"], more].concat())
    };
    insta::assert_snapshot!(add("shop", "https://shop.example/logged-out", &[]).succeeded().redacted(), @"
    added the client shop, which gets logout tokens; its secret:
    KEY________________________________________
    ");
    let till = add("till", "http://10.0.0.1/?a=b", &["--capabilities", "follow,revoke", "--allow-private"]).succeeded();
    insta::assert_snapshot!(till.redacted(), @"
    added the client till, which can follow, revoke and gets logout tokens; its secret:
    KEY________________________________________
    ");
    insta::assert_snapshot!(place.run(&["client", "list"]).succeeded().redacted(), @"
    NAME  CAPABILITIES    QUOTA         HORIZON  CREATED               BACK-CHANNEL LOGOUT
    shop  -               -             -        TIME________________  https://shop.example/logged-out
    till  follow, revoke  10000 per 1h  90d      TIME________________  http://10.0.0.1/?a=b
    ");
    insta::assert_snapshot!(place.run(&["client", "list", "--json"]).succeeded().redacted(), @r#"
    {"allow_private":false,"backchannel_logout_uri":"https://shop.example/logged-out","capabilities":[],"created_at":SECONDS___,"name":"shop"}
    {"allow_private":true,"backchannel_logout_uri":"http://10.0.0.1/?a=b","capabilities":["follow","revoke"],"created_at":SECONDS___,"name":"till","revocations":{"horizon_seconds":7776000,"quota":10000,"quota_period_seconds":3600}}
    "#);

    let refusals = [
        "http://shop.example/",
        "https://127.0.0.1/",
        "https://shop.example/#a",
        "https://user:secret@shop.example/",
        "shop.example/logged-out",
    ];
    let refusals = refusals.map(|uri| add("other", uri, &[]).failed());
    insta::assert_snapshot!(refusals.join("\n"), @"
    --backchannel-logout-uri: the url must begin with https:// (or, with allow_private = true, http://)
    --backchannel-logout-uri: the address of the url is not global; see allow_private
    --backchannel-logout-uri: the url must not have a fragment
    --backchannel-logout-uri: the url must not have a name or password in it
    --backchannel-logout-uri: the url is not valid: relative URL without a base
    ");
}

#[test]
fn a_client_can_have_limits_of_its_own() {
    let place = Place::empty();
    let limits = ["--revocation-quota", "500 per 1m", "--revocation-horizon", "1d12h"];
    place.run(&[&["client", "add", "till", "--capabilities", "revoke", "--create"], &limits[..]].concat()).succeeded();
    place.run(&["client", "add", "shop", "--capabilities", "revoke"]).succeeded();
    let change = |arguments: &[&str]| place.run(&[&["client", "change"], arguments].concat());
    insta::assert_snapshot!(change(&["shop", "--revocation-quota", "7 per 1h"]).succeeded().stdout, @"the client shop can revoke; it may append 7 per 1h revocations, kept for 90d at most");
    insta::assert_snapshot!(place.run(&["client", "list"]).succeeded().redacted(), @"
    NAME  CAPABILITIES  QUOTA       HORIZON  CREATED               BACK-CHANNEL LOGOUT
    shop  revoke        7 per 1h    90d      TIME________________  -
    till  revoke        500 per 1m  1d12h    TIME________________  -
    ");
    // Settings that are not named stay unchanged.
    change(&["till", "--revocation-quota", "default"]).succeeded();
    let changed = change(&["till", "--json"]).succeeded();
    insta::assert_snapshot!(changed.redacted(), @r#"{"capabilities":["revoke"],"created_at":SECONDS___,"name":"till","revocations":{"horizon_seconds":129600,"quota":10000,"quota_period_seconds":3600}}"#);
    change(&["till", "--revocation-horizon", "default"]).succeeded();
    assert_eq!(
        place.run(&["client", "list", "--json"]).succeeded().objects()[1]["revocations"]["horizon_seconds"],
        7_776_000
    );

    // Without `revoke`, there are no limits on it.
    let follow = change(&["till", "--revocation-horizon", "1d", "--capabilities", "introspect,revoke"]).succeeded();
    insta::assert_snapshot!(follow.stdout, @"the client till can revoke, introspect; it may append 10000 per 1h revocations, kept for 1d at most");
    let follow = change(&["till", "--capabilities", "follow"]).succeeded();
    insta::assert_snapshot!(follow.stdout, @"the client till can follow");
    change(&["till", "--capabilities", "revoke"]).succeeded();
    assert_eq!(
        place.run(&["client", "list", "--json"]).succeeded().objects()[1]["revocations"]["horizon_seconds"],
        7_776_000
    );

    place.run(&["client", "add", "gate", "--capabilities", "introspect"]).succeeded();
    let refusals = [
        change(&["other", "--revocation-quota", "1 per 1s"]).failed(),
        change(&["gate", "--revocation-quota", "1 per 1s"]).failed(),
        place.run(&["client", "add", "door", "--capabilities", "follow", "--revocation-quota", "1 per 1s"]).failed(),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    no client with the name other
    a client that can't revoke has no limits on it
    a client that can't revoke has no limits on it
    ");
    for wrong in [
        ["--revocation-quota", "0 per 1m"],
        ["--revocation-quota", "7"],
        ["--revocation-horizon", "0s"],
        ["--revocation-horizon", "9999w"],
    ] {
        assert_eq!(change(&[&["shop"], &wrong[..]].concat()).status, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_replaces_the_old_one_in_a_running_server() {
    let place = Place::empty();
    let added =
        place.run(&["client", "add", "shop", "--capabilities", "follow", "--json", "--create"]).succeeded().object();
    let node = place.node().await;
    let ask = async |secret: &str| node.clients.authenticate("shop", secret).await;
    let old = added["secret"].as_str().unwrap();
    ask(old).await.unwrap();
    let rotated = place.run(&["client", "rotate-secret", "shop", "--json"]).succeeded().object();
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!((&rotated["name"], &rotated["done"]), (&"shop".into(), &"rotated".into()));
    assert_eq!(ask(new).await.unwrap().can, [Capability::Follow]);
    assert!(matches!(ask(old).await, Err(ClientError::Wrong)));
    let text = place.run(&["client", "rotate-secret", "shop"]).succeeded().stdout;
    let (sentence, newest) = text.split_once('\n').unwrap();
    assert_eq!(sentence, "the new secret of the client shop:");
    ask(newest.trim()).await.unwrap();
    assert_eq!(place.run(&["client", "rotate-secret", "other"]).failed(), "no client with the name other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_a_command_removes_is_cut_off_from_a_running_server() {
    let place = Place::empty();
    let added =
        place.run(&["client", "add", "shop", "--capabilities", "follow", "--json", "--create"]).succeeded().object();
    let node = place.node().await;
    let ask = || node.clients.authenticate("shop", added["secret"].as_str().unwrap());
    ask().await.unwrap();
    insta::assert_snapshot!(place.run(&["client", "remove", "shop"]).succeeded().stdout, @"removed the client shop");
    while ask().await.is_ok() {
        place.run(&["client", "list"]).succeeded();
    }
    assert!(matches!(ask().await, Err(ClientError::Wrong)));
}

#[test]
fn what_can_not_be_a_client_is_refused_in_one_line() {
    let place = Place::empty();
    place.run(&["client", "add", "shop", "--capabilities", "follow", "--create"]).succeeded();
    let refusals = [
        place.run(&["client", "add", "shop", "--capabilities", "follow"]).failed(),
        place.run(&["client", "remove", "other"]).failed(),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    a client with the name shop already exists
    no client with the name other
    ");
    for wrong in [
        &["client", "add", "a:b", "--capabilities", "follow"][..],
        &["client", "add", "", "--capabilities", "follow"],
        &["client", "add", "other"],
        &["client", "add", "other", "--capabilities", "fly"],
        &["client", "add", "other", "--capabilities", ""],
    ] {
        assert_eq!(place.run(wrong).status, 2, "{wrong:?}");
    }
    assert_eq!(place.run(&["client", "list", "--json"]).succeeded().objects().len(), 1);
}
