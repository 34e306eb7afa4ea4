//! `adieu token`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

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

const SECRET: &[u8] = b"a secret of at least 256 bits......";

/// Serves the keys of another issuer, after a while.
async fn serve_keys(keys: serde_json::Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let answer = async move || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        keys.to_string()
    };
    let router = axum::Router::new().route("/jwks", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Signs a token of the issuer `shop`, with the id of a session of its own.
fn of_shop(header: &jsonwebtoken::Header, key: &jsonwebtoken::EncodingKey) -> String {
    let now = adieu::time::Clock::now(&adieu::time::SystemClock).as_unix();
    let claims = serde_json::json!({"iss": "shop", "sub": "jose", "aud": "api", "jti": "1", "sid": "theirs", "type": "access", "iat": now,
        "exp": now + 600});
    jsonwebtoken::encode(header, &claims, key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_issuer_is_checked_with_the_keys_that_the_issuer_publishes() {
    let place = Place::with_user("jose");
    let pair = Ed25519KeyPair::generate().unwrap();
    let (pkcs8, x) = (pair.to_pkcs8v1().unwrap(), BASE64_URL_SAFE_NO_PAD.encode(pair.public_key()));
    let keys = serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": x}]});
    let settings = |url: &str| {
        format!("[[trusted_issuer]]\nname = 'shop'\njwks_url = '{url}'\naudience = 'api'\naccept_generic_type = true")
    };
    place.write("adieu.toml", settings(&serve_keys(keys).await));
    place.write("down.toml", settings("http://127.0.0.1:1/jwks"));
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some("1".to_owned());
    let token = of_shop(&header, &jsonwebtoken::EncodingKey::from_ed_der(pkcs8.as_ref()));
    let signature = BASE64_URL_SAFE_NO_PAD.encode([7; 64]);
    let forged = format!("{}.{signature}", token.rsplit_once('.').unwrap().0);
    let inspect = |token: &str, config: &str| {
        place.run_with(&["token", "inspect", "--json", "--config", config], token.as_bytes())
    };
    let revoke = |config: &str| place.run_with(&["token", "revoke", "--config", config], token.as_bytes());

    let found = inspect(&token, "adieu.toml").succeeded().object();
    assert_eq!((&found["signature"], &found["session"]), (&"good".into(), &"none".into()), "{found}");
    assert_eq!(inspect(&forged, "adieu.toml").object()["signature"], "wrong");
    for token in [&token, &forged] {
        let without_keys = inspect(token, "down.toml");
        assert_eq!((without_keys.status, &without_keys.object()["signature"]), (1, &"not_checked".into()));
        assert!(without_keys.stderr.starts_with("warning: no keys of the issuer shop: "), "{}", without_keys.stderr);
    }
    let error = revoke("down.toml").failed();
    assert!(error.starts_with("nothing was revoked: no keys of the issuer shop: "), "{error}");
    revoke("adieu.toml").succeeded();
    assert_eq!(inspect(&token, "adieu.toml").object()["code"], "token_revoked");
}

#[test]
fn a_token_of_another_issuer_names_no_session_of_this_server() {
    let place = Place::with_user("jose");
    place.write("shop.secret", SECRET);
    place.write(
        "adieu.toml",
        "[[trusted_issuer]]\nname = 'shop'\nsecret_file = 'shop.secret'\naudience = 'api'\naccept_generic_type = true",
    );
    let token = of_shop(&jsonwebtoken::Header::default(), &jsonwebtoken::EncodingKey::from_secret(SECRET));
    let inspect = |token: &str| {
        let found =
            place.run_with(&["token", "inspect", "--json", "--config", "adieu.toml"], token.as_bytes()).object();
        (found["verdict"].as_str().unwrap().to_owned(), found["signature"].clone(), found["session"].clone())
    };
    assert_eq!(inspect(&token), ("good".to_owned(), "good".into(), "none".into()));
    // The issuer is read before the signature, to find the keys.
    let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"nobody"}"#);
    let forged = inspect(&format!("{header}.{claims}.{signature}"));
    assert_eq!(forged, ("refused".to_owned(), "not_checked".into(), "none".into()));
}
