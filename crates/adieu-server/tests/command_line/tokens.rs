//! `adieu token`.

use crate::support::{Place, log_in, redact};

#[tokio::test]
async fn a_good_token_is_shown_with_status_0() {
    let place = Place::with_user("jose");
    let pair = log_in(&place.node().await, "jose", "curl").await;
    let access = place.run_with(&["token", "inspect"], format!("{}\n", pair.access).as_bytes());
    insta::assert_snapshot!(access.succeeded().redacted(), @"
    token        good
    signature    good
    session      live
    header alg   EdDSA
    header kid   KEY________________________________________
    header typ   at+jwt
    claim exp    SECONDS___ (TIME________________)
    claim fresh  true
    claim iat    SECONDS___ (TIME________________)
    claim iss    adieu
    claim jti    UUID________________________________
    claim nbf    SECONDS___ (TIME________________)
    claim sid    UUID________________________________
    claim sub    UUID________________________________
    claim type   access
    ");
    let refresh = place.run_with(&["token", "inspect", "-", "--json"], pair.refresh.as_bytes());
    insta::assert_snapshot!(refresh.succeeded().redacted(), @r#"{"verdict":"good","code":null,"reason":null,"signature":"good","session":"live","header":{"alg":"EdDSA","kid":"KEY________________________________________","typ":"rt+jwt"},"claims":{"exp":SECONDS___,"fresh":false,"iat":SECONDS___,"iss":"adieu","jti":"UUID________________________________","nbf":SECONDS___,"sid":"UUID________________________________","sub":"UUID________________________________","type":"refresh"}}"#);
    place.run(&["token", "inspect", &pair.access]).succeeded();
}

#[tokio::test]
async fn a_refused_token_is_shown_with_the_reason_and_status_1() {
    let place = Place::with_user("jose");
    let node = place.node().await;
    let pair = log_in(&node, "jose", "curl").await;
    place.write("strict.toml", "rotation_grace = '0s'");
    let inspect = |token: &str| {
        let done = place.run_with(&["token", "inspect", "--config", "strict.toml"], token.as_bytes());
        assert_eq!((done.status, done.stderr.as_str()), (1, ""), "{}", done.stdout);
        redact(&done.stdout).lines().take(3).collect::<Vec<_>>().join("\n")
    };

    let refresh = node.sessions.inspect(&pair.refresh).unwrap();
    let successor = node.sessions.refresh(&refresh).await.unwrap();
    insta::assert_snapshot!(inspect(&pair.refresh), @"
    token        refused: the refresh token has been used already; using it again ends its session
    signature    good
    session      live
    ");
    // Within the grace period it gets the same successor again.
    place.write("lenient.toml", "rotation_grace = '14m'");
    place.run_with(&["token", "inspect", "--config", "lenient.toml"], pair.refresh.as_bytes()).succeeded();

    let forged = format!("{}AAAA", &successor.access[..successor.access.len() - 4]);
    insta::assert_snapshot!(inspect(&forged), @"
    token        refused: the token's signature is wrong
    signature    wrong: nothing below can be trusted
    session      -
    ");
    insta::assert_snapshot!(inspect("no.token"), @"
    token      refused: the token is malformed: there are not three parts
    signature  not checked: nothing below can be trusted
    session    -
    ");

    place.run_with(&["token", "revoke"], successor.refresh.as_bytes()).succeeded();
    insta::assert_snapshot!(inspect(&pair.access), @"
    token        refused: the token has been revoked (its session)
    signature    good
    session      ended
    ");
    insta::assert_snapshot!(inspect(&successor.refresh), @"
    token        refused: the token has been revoked (its session)
    signature    good
    session      ended
    ");
}

#[tokio::test]
async fn a_token_that_has_expired_is_shown_as_such() {
    let place = Place::with_user("jose");
    place.write("adieu.toml", "access_lifetime = '1s'\nrotation_grace = '0s'");
    let settings = adieu_server::config::Settings {
        access_lifetime: std::time::Duration::from_secs(1),
        rotation_grace: std::time::Duration::ZERO,
        ..place.settings()
    };
    let node = adieu_server::node::Node::open(&settings).await.unwrap();
    let key = node.core.signing_key();
    let pair = log_in(&node, "jose", "curl").await;
    let mut claims = pair.claims.clone();
    claims.expires_at = claims.expires_at.minus(std::time::Duration::from_secs(60));
    let token = adieu::token::encode(&key, &claims).unwrap();
    let done = place.run_with(&["token", "inspect", "--json", "--config", "adieu.toml"], token.as_bytes());
    assert_eq!(done.status, 1);
    let object = done.object();
    assert_eq!(
        (object["code"].as_str(), object["signature"].as_str(), object["session"].as_str()),
        (Some("token_expired"), Some("good"), Some("live"))
    );
    place.run_with(&["token", "revoke"], token.as_bytes()).succeeded();
}

#[tokio::test]
async fn an_access_token_is_revoked_alone_and_a_refresh_token_with_its_session() {
    let place = Place::with_user("jose");
    let pair = log_in(&place.node().await, "jose", "curl").await;
    let revoke =
        |arguments: &[&str], token: &str| place.run_with(&[&["token", "revoke"], arguments].concat(), token.as_bytes());
    let is_good = |token: &str| place.run_with(&["token", "inspect"], token.as_bytes()).status == 0;

    insta::assert_snapshot!(revoke(&[], &pair.access).succeeded().stdout, @"revoked the token; 0 sessions ended");
    assert!(!is_good(&pair.access) && is_good(&pair.refresh));
    insta::assert_snapshot!(revoke(&["-", "--json"], &pair.refresh).succeeded().stdout, @r#"{"sessions_ended":1}"#);
    assert!(!is_good(&pair.refresh));
    insta::assert_snapshot!(revoke(&[], &pair.refresh).succeeded().stdout, @"revoked the token; 0 sessions ended");

    insta::assert_snapshot!(revoke(&[], "no token").failed(), @"nothing was revoked: the token is malformed: there are not three parts");
    insta::assert_snapshot!(revoke(&[], "").failed(), @"no token on standard input");
}

#[tokio::test]
async fn one_token_is_revoked_by_its_id_alone() {
    for with_expiry in [true, false] {
        let place = Place::with_user("jose");
        let pair = log_in(&place.node().await, "jose", "curl").await;
        let expires_at = pair.claims.expires_at.as_unix().to_string();
        let mut arguments = vec!["token", "revoke", "--id", pair.claims.token_id.as_str(), "--json"];
        if with_expiry {
            arguments.extend(["--expires-at", &expires_at]);
        }
        assert_eq!(place.run(&arguments).succeeded().object()["id"].as_str(), Some(pair.claims.token_id.as_str()));
        assert_eq!(place.run_with(&["token", "inspect"], pair.access.as_bytes()).status, 1);
        assert_eq!(place.run_with(&["token", "inspect"], pair.refresh.as_bytes()).status, 0, "the session goes on");
    }
    let place = Place::with_user("jose");
    insta::assert_snapshot!(place.run(&["token", "revoke", "--id", "x"]).succeeded().stdout, @"revoked the token with the id x");
    insta::assert_snapshot!(place.run(&["token", "revoke", "--id", "x", "--expires-at", "1000"]).failed(), @"nothing was revoked: a token with this `exp` has expired");
    let in_milliseconds = place.run(&["token", "revoke", "--id", "x", "--expires-at", "1795454366000"]).failed();
    assert!(in_milliseconds.ends_with("`exp` is in seconds since 1970"), "{in_milliseconds}");
    assert_eq!(place.run(&["token", "revoke", "--expires-at", "1000"]).status, 2);
}
