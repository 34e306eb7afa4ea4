//! `adieu session` and `adieu revoke`.

use crate::support::{Place, log_in, redact, session_of, subject_of};

#[tokio::test]
async fn sessions_are_listed_for_all_or_for_one_user() {
    let place = Place::with_user("jose");
    place.add("anna");
    let node = place.node().await;
    log_in(&node, "jose", "curl/8.5.0").await;
    log_in(&node, "anna", "Mozilla/5.0 (X11; Linux x86_64)").await;

    insta::assert_snapshot!(place.run(&["session", "list"]).succeeded().redacted(), @"
    ID                                    USER  SINCE                 LAST SEEN             ADDRESS    USER AGENT
    UUID________________________________  jose  TIME________________  TIME________________  192.0.2.7  curl/8.5.0
    UUID________________________________  anna  TIME________________  TIME________________  192.0.2.7  Mozilla/5.0 (X11; Linux x86_64)
    ");
    insta::assert_snapshot!(place.run(&["session", "list", "--user", "anna", "--json"]).succeeded().redacted(), @r#"{"address":"192.0.2.7","created_at":SECONDS___,"expires_at":SECONDS___,"id":"UUID________________________________","last_seen_at":SECONDS___,"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","user_id":"UUID________________________________","username":"anna"}"#);
    assert_eq!(place.run(&["session", "list", "--user", "unknown"]).failed(), "no user with the name or id unknown");
}

#[tokio::test]
async fn a_list_tells_when_a_session_was_last_seen() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let pair = log_in(&node, "jose", "curl").await;
    let later = pair.claims.issued_at.unwrap().plus(std::time::Duration::from_secs(100));
    node.sessions
        .store()
        .record_last_seen(vec![(pair.claims.session.clone().unwrap(), pair.claims.subject.clone(), later)])
        .await
        .unwrap();
    let listed = place.run(&["session", "list", "--json"]).succeeded().object();
    assert_eq!(listed["last_seen_at"].as_u64(), Some(later.as_unix()));
}

#[tokio::test]
async fn one_session_ends_or_all_of_a_user() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(session_of(&log_in(&node, "jose", "curl").await));
    }
    insta::assert_snapshot!(place.run(&["session", "end", &ids[0]]).succeeded().stdout, @"1 session ended");
    insta::assert_snapshot!(redact(&place.run(&["session", "end", &ids[0]]).failed()), @"no session with the id UUID________________________________; it may have ended already");
    assert_eq!(place.run(&["session", "list", "--json"]).objects().len(), 2);
    insta::assert_snapshot!(place.run(&["session", "end", "--user", "jose", "--json"]).succeeded().stdout, @r#"{"sessions_ended":2}"#);
    insta::assert_snapshot!(place.run(&["session", "end", "--user", "jose"]).succeeded().stdout, @"0 sessions ended");
    assert!(place.run(&["session", "list", "--json"]).succeeded().stdout.is_empty());
}

#[tokio::test]
async fn everything_of_a_subject_is_revoked_and_everything_at_all() {
    let place = Place::with_user("jose");
    place.add("anna");
    let (of_jose, of_anna) = {
        let node = place.node().await;
        (log_in(&node, "jose", "curl").await, log_in(&node, "anna", "curl").await)
    };
    let is_refused = |token: &str| place.run_with(&["token", "inspect"], token.as_bytes()).status == 1;

    insta::assert_snapshot!(place.run(&["revoke", "--user", "jose"]).failed(), @"this would end every session and revoke every token of jose; say --yes if that is meant");
    assert!(!is_refused(&of_jose.access), "not without --yes");

    insta::assert_snapshot!(place.run(&["revoke", "--user", "jose", "--yes"]).succeeded().redacted(), @"revoked every token of jose; 1 session ended");
    assert!(is_refused(&of_jose.access) && is_refused(&of_jose.refresh) && !is_refused(&of_anna.access));

    let subject = subject_of(&of_anna).to_string();
    let revoked = place.run(&["revoke", "--subject", &subject, "--yes", "--json"]);
    insta::assert_snapshot!(revoked.succeeded().redacted(), @r#"{"revoked":"subject","sessions_ended":1,"subject":"UUID________________________________"}"#);
    assert!(is_refused(&of_anna.access));

    insta::assert_snapshot!(place.run(&["revoke", "--everything"]).failed(), @"this would end every session and revoke every token of everybody; say --yes if that is meant");
    insta::assert_snapshot!(place.run(&["revoke", "--everything", "--yes"]).succeeded().stdout, @"revoked every token of everybody; 0 sessions ended");
    insta::assert_snapshot!(place.run(&["revoke", "--subject", "of another issuer", "--yes"]).succeeded().stdout, @"revoked every token of the subject of another issuer; 0 sessions ended");
}

#[tokio::test]
async fn what_changes_an_account_ends_its_sessions() {
    for command in [
        &["user", "disable", "jose"][..],
        &["user", "delete", "jose", "--yes"],
        &["user", "passwd", "jose", "--password-stdin"],
    ] {
        let place = Place::with_user("jose");
        let token = log_in(&place.node().await, "jose", "curl").await.access;
        place.run_with(&["token", "inspect"], token.as_bytes()).succeeded();
        place.run_with(command, b"5678").succeeded();
        let inspected = place.run_with(&["token", "inspect", "--json"], token.as_bytes());
        assert_eq!((inspected.status, inspected.object()["code"].as_str()), (1, Some("token_revoked")), "{command:?}");
    }
}
