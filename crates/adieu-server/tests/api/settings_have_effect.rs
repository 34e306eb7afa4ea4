//! Every setting of the API has its documented effect.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adieu::session::{Origin, TokenOptions};
use adieu_server::{
    accounts::Filter,
    clients::{Capability, Client, ClientName, Limits},
    config::Rate,
};
use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use insta::assert_snapshot;
use serde_json::json;
use tokio::{io::AsyncReadExt as _, task::JoinSet, time::timeout};

use crate::support::{Credentials, PASSWORD, TestApp, credentials, first_line};

/// Less than the default timeouts, and more than any request here takes.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn issuer_and_audience() {
    let settings = [("issuer", "https://login.example"), ("audience", "shop")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let mut claims = app.claims(&app.log_in("jose").await);
    assert_eq!((claims.issuer.as_str(), &*claims.audience), ("https://login.example", &["shop".to_owned()][..]));
    claims.audience = vec!["bank".into()];
    app.verify(&app.sign(&claims)).await.is(401);
    claims.audience = vec![];
    app.verify(&app.sign(&claims)).await.is(401);
}

#[tokio::test]
async fn lifetimes() {
    let settings = [("access_lifetime", "7m"), ("refresh_lifetime", "2h"), ("session_lifetime", "3h")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let tokens = app.log_in("jose").await;
    let claims = app.claims(&tokens);
    let issued_at = claims.issued_at.unwrap();
    assert_eq!(claims.expires_at.since(issued_at), Duration::from_secs(7 * 60));
    let log_in = app.post("/login").json(credentials("jose", PASSWORD)).send().await;
    let refreshed = app.post("/refresh").token(&log_in.tokens().refresh).send().await;
    for answer in [log_in.json(), refreshed.json()] {
        let [access, refresh] = ["expires_in", "refresh_expires_in"].map(|name| answer[name].as_u64().unwrap());
        assert!((400..=7 * 60).contains(&access), "{answer}");
        assert!((7_000..=2 * 3600).contains(&refresh), "{answer}");
    }
    let session = app.node.sessions.store().session(&claims.session.unwrap()).await.unwrap().unwrap();
    assert_eq!(session.refresh_expires_at.since(issued_at), Duration::from_secs(2 * 3600));
    assert_eq!(session.expires_at.since(issued_at), Duration::from_secs(3 * 3600));
}

#[tokio::test]
async fn leeway() {
    for (leeway, status) in [("0s", 401), ("60s", 204)] {
        let app = TestApp::with(&[("leeway", leeway)]).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        app.verify(&app.expired(&tokens)).await.is(status);
    }
}

/// Its effect on a reused token is tested in `the_course.rs`.
#[tokio::test]
async fn rotation_grace() {
    for (grace, status) in [("0s", 401), ("10s", 200)] {
        let app = TestApp::with(&[("rotation_grace", grace)]).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        app.post("/refresh").token(&tokens.refresh).send().await.is(200);
        app.post("/refresh").token(&tokens.refresh).send().await.is(status);
    }
}

#[tokio::test]
async fn pages() {
    for (pages, status) in [("true", 200), ("false", 404)] {
        let app = TestApp::with(&[("pages", pages)]).await;
        for path in ["/account", "/assets/x/style.css"] {
            assert_eq!(reqwest::get(app.url(path)).await.unwrap().status(), status, "{path}");
        }
    }
}

#[tokio::test]
async fn console() {
    for (console, status) in [("true", 200), ("false", 404)] {
        let app = TestApp::with(&[("console", console)]).await;
        assert_eq!(reqwest::get(app.url("/console")).await.unwrap().status(), status);
        assert_eq!(reqwest::get(app.url("/account")).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn max_sessions_per_user() {
    let app = TestApp::with(&[("max_sessions_per_user", "2")]).await.with_user("jose").await;
    let logins = [app.log_in("jose").await, app.log_in("jose").await, app.log_in("jose").await];
    app.verify(&logins[0].access).await.is(401);
    app.verify(&logins[1].access).await.is(204);
    app.verify(&logins[2].access).await.is(204);
}

#[tokio::test]
async fn registration() {
    let app = TestApp::with(&[("registration", "closed")]).await;
    assert_snapshot!(
        app.post("/register").json(credentials("jose", PASSWORD)).send().await,
        @r#"403 {"code":403,"message":"Registration is closed.","status":"Forbidden"}"#
    );
}

/// Unless the setting says so, strangers on other machines may not register.
#[tokio::test]
async fn registration_is_open_by_default_only_on_this_machine() {
    for (listen, set, expected) in [
        ("127.0.0.1:0", None, 201),
        ("[::1]:0", None, 201),
        ("127.0.0.1:0,unix:/tmp/adieu.sock", None, 201),
        ("0.0.0.0:0", None, 403),
        ("[::]:0", None, 403),
        ("192.0.2.1:0", None, 403),
        ("127.0.0.1:0,0.0.0.0:0", None, 403),
        ("127.0.0.1:0", Some(("console_listen", "192.0.2.1:0")), 403),
        ("127.0.0.1:0", Some(("console_listen", "127.0.0.1:0")), 201),
        ("127.0.0.1:0", Some(("trusted_proxies", "127.0.0.1/32")), 403),
        ("0.0.0.0:0", Some(("registration", "open")), 201),
        ("127.0.0.1:0", Some(("registration", "closed")), 403),
    ] {
        let settings: Vec<_> = [("listen", listen)].into_iter().chain(set).collect();
        let app = TestApp::with(&settings).await;
        let answer = app.post("/register").json(credentials("jose", PASSWORD)).send().await;
        assert_eq!(answer.status, expected, "{listen} {set:?}: {answer}");
    }
}

#[tokio::test]
async fn min_password_length() {
    let app = TestApp::with(&[("min_password_length", "5")]).await;
    assert_snapshot!(
        app.post("/register").json(credentials("jose", PASSWORD)).send().await,
        @r#"422 {"code":422,"errors":{"json":{"password":["Shorter than minimum length 5."]}},"status":"Unprocessable Entity"}"#
    );
    let app = app.with_admin("boss").await;
    let boss = app.log_in("boss").await;
    let change = json!({"password": PASSWORD, "new_password": "5678"});
    app.post("/password").token(&boss.access).json(change).send().await.is(422);
}

/// Returns an access token of this length, of an issuer that shares a secret.
fn long_token(secret: &[u8], length: usize) -> String {
    let expires_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let signed = |filler: usize| {
        let parts = [
            json!({"alg": "HS256", "typ": "at+jwt"}),
            json!({"iss": "shop", "sub": "jose", "jti": "1", "iat": expires_at - 600, "exp": expires_at, "groups": "x".repeat(filler)}),
        ];
        let text = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let missing = length - signed(0).len();
    // Four characters for three bytes: the last two of three lengths may be impossible.
    let token = (missing * 3 / 4..).map(signed).find(|token| token.len() >= length - 2).unwrap();
    assert!(token.len() <= length, "{}", token.len());
    token
}

#[tokio::test]
async fn max_token_bytes() {
    let secret = b"a secret that is long enough for its hash";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let trusted = format!("[{{ name = 'shop', secret_file = '{}' }}]", file.path().display());
    for (setting, longest, head) in [(None, 8 * 1024, 32 * 1024), (Some("65536"), 64 * 1024, 144 * 1024)] {
        let mut settings = vec![("trusted_issuer", &*trusted)];
        settings.extend(setting.map(|bytes| ("max_token_bytes", bytes)));
        let app = TestApp::with(&settings).await;
        let (token, longer) = (long_token(secret, longest), long_token(secret, longest + 4));
        app.verify(&token).await.is(204);
        app.verify(&longer).await.is(401);
        let filled =
            |bytes: usize| app.get("/verify").token(&token).header("x-filler", &"x".repeat(bytes - token.len()));
        filled(head - 512).send().await.is(204);
        filled(head + 1).send().await.is(431);
    }
}

#[tokio::test]
async fn max_body_bytes() {
    let app = TestApp::with(&[("max_body_bytes", "20")]).await;
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(413);
    app.post("/login").text("{}").send().await.is(422);
}

#[tokio::test]
async fn trusted_proxies() {
    for (trusted, expected) in [("", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.7")] {
        let settings = [("trusted_proxies", trusted), ("registration", "open")];
        let app = TestApp::with(&settings).await.with_user("jose").await;
        let log_in = app.post("/login").header("x-forwarded-for", "203.0.113.7").json(credentials("jose", PASSWORD));
        let tokens = log_in.send().await.tokens();
        let list = app.get("/sessions").token(&tokens.access).send().await.json();
        assert_eq!(list["sessions"][0]["address"], expected);
    }
}

/// Either the client is late with its body, or the server, because another transaction has locked its store.
#[tokio::test]
async fn request_timeout() {
    let app = TestApp::with(&[("request_timeout", "250ms")]).await.with_admin("boss").await;
    let head = "POST /login HTTP/1.1\r\nhost: adieu\r\ncontent-type: application/json\r\n";
    let mut stream = app.send(&format!("{head}content-length: 9\r\n\r\nhalf")).await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 408 Request Timeout");

    let account = app.node.accounts.store().list(&Filter::default(), None, 1).await.unwrap().remove(0);
    let boss = app.node.accounts.log_in(&account, Origin::default(), TokenOptions::new()).await.unwrap();
    let busy = app.lock_store();
    let late = app.post("/logout").token(&boss.access).send().await;
    assert_snapshot!(late, @r#"503 {"code":503,"message":"Temporarily unavailable. Try again.","status":"Service Unavailable"}"#);
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(late.header("x-content-type-options"), Some("nosniff"), "like every answer");
    drop(busy);
}

#[tokio::test]
async fn header_timeout() {
    let app = TestApp::with(&[("header_timeout", "50ms")]).await;
    let mut stream = app.send("GET /livez HTTP/1.1\r\n").await;
    let ended = timeout(TEST_TIMEOUT, stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection is closed");
}

/// One address gets a quarter of the connections: one of four.
#[tokio::test]
async fn max_connections() {
    let app = TestApp::with(&[("max_connections", "4")]).await;
    let mut first = app.send("GET /livez HTTP/1.1\r\nhost: adieu\r\n\r\n").await;
    assert_eq!(first_line(&mut first).await, "HTTP/1.1 200 OK");
    let mut second = app.send("GET /livez HTTP/1.1\r\nhost: adieu\r\n\r\n").await;
    assert_eq!(first_line(&mut second).await, "HTTP/1.1 200 OK");
    let ended = timeout(TEST_TIMEOUT, first.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "of one address's share of one the idle one is closed");
}

/// Of many concurrent logins, one is hashed and one waits; of those of one address, one is hashed or waits.
#[tokio::test]
async fn hashing_queue() {
    for (addresses, too_many) in [(30, 503), (1, 429)] {
        let app = TestApp::with(&[
            ("hashing_threads", "1"),
            ("hashing_queue", "1"),
            ("login_attempts_per_account", "100 per 1h"),
            ("trusted_proxies", "127.0.0.1/32"),
        ]);
        let app = Arc::new(app.await);
        let mut logins = JoinSet::new();
        for number in 0..30 {
            let app = Arc::clone(&app);
            let address = format!("192.0.2.{}", number % addresses);
            logins.spawn(async move {
                let log_in = app.post("/login").json(credentials("jose", PASSWORD));
                log_in.header("x-forwarded-for", &address).send().await
            });
        }
        let answers = logins.join_all().await;
        let of = |status| answers.iter().filter(move |answer| answer.status == status);
        assert_eq!(of(401).count() + of(too_many).count(), answers.len());
        assert!(of(401).count() > 0 && of(too_many).count() > 0);
        assert!(of(too_many).all(|answer| answer.header("retry-after") == Some("1")));
    }
}

#[tokio::test]
async fn keep_alive_timeout() {
    let app = TestApp::with(&[("keep_alive_timeout", "50ms")]).await;
    let mut stream = app.send("GET /livez HTTP/1.1\r\nhost: adieu\r\n\r\n").await;
    assert_eq!(first_line(&mut stream).await, "HTTP/1.1 200 OK");
    let ended = timeout(TEST_TIMEOUT, stream.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection is closed");
}

/// 3 at once; a call beyond the quota is rejected as a whole.
#[tokio::test]
async fn client_revocation_quota() {
    let app = TestApp::with(&[("client_revocation_quota", "3 per 1h")]).await.with_admin("boss").await;
    let [shop, cart] =
        [app.client("shop", &[Capability::Revoke]).await, app.client("cart", &[Capability::Revoke]).await];
    let revoke = |client, count: usize| {
        let items: Vec<_> = (0..count).map(|number| json!({"token_id": format!("id {number}")})).collect();
        app.post("/revocations").by(client).json(json!({ "revocations": items })).send()
    };
    revoke(&shop, 2).await.is(200);
    let refused = revoke(&shop, 2).await;
    assert_snapshot!(refused, @r#"429 {"code":429,"message":"This client has used up its quota of revocations. Try again later.","status":"Too Many Requests"}"#);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1200).contains(&wait), "{wait}");
    revoke(&shop, 1).await.is(200);
    // Never allowed, so it is no use to try again later.
    let refused = revoke(&cart, 4).await;
    assert_snapshot!(refused, @r#"422 {"code":422,"errors":{"json":{"revocations":["At most 3 at once, which is the client's quota."]}},"status":"Unprocessable Entity"}"#);
    assert_eq!(refused.header("retry-after"), None);
    revoke(&cart, 3).await.is(200);
    let boss = app.log_in("boss").await;
    let revoke_as_admin = || app.post("/revocations").token(&boss.access).json(json!({"token_id": "another"})).send();
    for _ in 0..5 {
        revoke_as_admin().await.is(200);
    }
    let metrics = app.node.metrics.render().unwrap();
    for line in [
        r#"adieu_client_revocations_total{client="shop",outcome="accepted"} 3"#,
        r#"adieu_client_revocations_total{client="shop",outcome="over_quota"} 2"#,
        r#"adieu_client_revocations_total{client="cart",outcome="accepted"} 3"#,
        r#"adieu_client_revocation_quota{client="shop"} 3.0"#,
        r#"adieu_client_revocation_quota_period_seconds{client="shop"} 3600.0"#,
        r#"adieu_client_revocation_horizon_seconds{client="shop"} 7776000.0"#,
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    }

    // Its own quota, which does not affect the others.
    let quota = Some(Rate { burst: 5, per: Duration::from_secs(7200) });
    let limits = Limits { quota, horizon: Some(Duration::from_secs(86_400)) };
    let name = ClientName::new("till").unwrap();
    let (client, secret) = Client::new(name, &[Capability::Revoke], app.node.clock.now()).unwrap();
    assert!(app.node.clients.store().add_client(Client { limits, ..client }).await.unwrap());
    let till = Credentials { name: "till".to_owned(), secret: secret.expose().to_owned() };
    revoke(&till, 5).await.is(200);
    revoke(&till, 1).await.is(429);
    revoke(&shop, 1).await.is(429);
    let late = json!({"token_id": "x", "keep_until": app.node.clock.now().plus(Duration::from_secs(2 * 86_400))});
    assert_snapshot!(
        app.post("/revocations").by(&till).json(late).send().await,
        @r#"422 {"code":422,"errors":{"json":{"keep_until":["Later than the client's client_revocation_horizon from now."]}},"status":"Unprocessable Entity"}"#
    );
    let metrics = app.node.metrics.render().unwrap();
    for line in [
        r#"adieu_client_revocation_quota{client="till"} 5.0"#,
        r#"adieu_client_revocation_quota_period_seconds{client="till"} 7200.0"#,
        r#"adieu_client_revocation_horizon_seconds{client="till"} 86400.0"#,
        r#"adieu_client_revocation_quota{client="cart"} 3.0"#,
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn client_revocation_horizon() {
    const OTHER: &str = "https://other.example";
    for (settings, longest) in [
        (&[("client_revocation_horizon", "1h")][..], 3600),
        // The lifetime of the longest token.
        (&[("session_lifetime", "40d"), ("refresh_lifetime", "20d")], 40 * 86_400),
    ] {
        let app = TestApp::with(settings).await.with_admin("boss").await;
        let (shop, boss) = (app.client("shop", &[Capability::Revoke]).await, app.log_in("boss").await);
        let now = app.node.clock.now().as_unix();
        for (field, issuer) in [("keep_until", Some(OTHER)), ("keep_until", None), ("expires_at", None)] {
            let body = |after| {
                let mut body = json!({"token_id": "id", field: now + after});
                if let Some(issuer) = issuer {
                    body["issuer"] = json!(issuer);
                }
                body
            };
            let revoke = |after| app.post("/revocations").by(&shop).json(body(after)).send();
            // The client's clock may be ahead.
            revoke(longest + 2).await.is(200);
            revoke(longest + 600).await.reads(&format!(
                r#"422 {{"code":422,"errors":{{"json":{{"{field}":["Later than the client's client_revocation_horizon from now."]}}}},"status":"Unprocessable Entity"}}"#
            ));
            app.post("/revocations").token(&boss.access).json(body(longest + 600)).send().await.is(200);
        }
    }
}

async fn is_stale(app: &TestApp) -> bool {
    app.get("/readyz").send().await.json()["revocations"]["stale"].as_bool().unwrap()
}

/// When the log is unreachable, the node's knowledge of logouts soon becomes stale.
#[tokio::test]
async fn max_staleness_and_stale_policy() {
    for (stale_policy, status) in [("reject", 503), ("accept", 204)] {
        let settings = [("max_staleness", "1s"), ("stale_policy", stale_policy)];
        let app = TestApp::with(&settings).await.with_user("jose").await;
        let tokens = app.log_in("jose").await;
        app.break_log();
        while !is_stale(&app).await {}
        app.get("/readyz").send().await.is(if stale_policy == "reject" { 503 } else { 200 });
        let answer = app.verify(&tokens.access).await;
        answer.is(status);
        if status == 503 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_snapshot!(answer, @r#"503 {"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"}"#);
        }
        app.mend_log();
        while is_stale(&app).await {}
        app.get("/readyz").send().await.is(200);
        app.verify(&tokens.access).await.is(204);
    }
}
