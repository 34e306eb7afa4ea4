//! The subject of an issuer's tokens can be in another claim than `sub`: verdicts, revocations and logouts at the issuer all go by it.

use adieu_server::clients::Capability;
use serde_json::{Value, json};

use crate::{
    provider::{EVERY_KIND, Provider, changed, now},
    support::TestApp,
};

/// An access token with these further claims. Its `sub` is another in each token, as pairwise identifiers are.
fn token(provider: &Provider, id: &str, further: Value) -> String {
    let claims = json!({
        "iss": provider.issuer, "sub": format!("pairwise-{id}"), "sid": id, "aud": "api", "jti": id, "iat": now(), "exp": now() + 900,
    });
    provider.key.sign(Some("at+jwt"), &changed(claims, further))
}

/// Starts a server for which this claim is the subject, and waits until it has the keys of the provider.
async fn start(provider: &Provider, claim: &str, first: &str) -> TestApp {
    let further = format!(r#"events = {EVERY_KIND}, subject_claim = '{claim}'"#);
    let app = TestApp::with(&[("trusted_issuer", &format!("[{}]", provider.table(&further)))]).await;
    while app.verify(first).await.status != 204 {
        tokio::task::yield_now().await;
    }
    app
}

#[tokio::test]
async fn verdicts_and_revocations_go_by_it() {
    let provider = Provider::start().await;
    let [first, second] = ["1", "2"].map(|id| token(&provider, id, json!({"oid": "jose <&\"é"})));
    let other = token(&provider, "3", json!({"oid": "ana"}));
    let app = start(&provider, "oid", &first).await;
    let verified = app.verify(&first).await;
    // What is not visible ASCII is percent-encoded.
    assert_eq!(verified.header("x-adieu-subject"), Some("jose%20<&\"%C3%A9"));
    let gate = app.client("gate", &[Capability::Introspect, Capability::Revoke]).await;
    let told = app.post("/introspect").by(&gate).form(format!("token={first}")).send().await.json();
    assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!("jose <&\"é")));

    for (id, wrong) in
        [("4", json!({})), ("5", json!({"oid": 7})), ("6", json!({"oid": ""})), ("7", json!({"oid": ["jose"]}))]
    {
        let refused = app.verify(&token(&provider, id, wrong.clone())).await;
        assert_eq!((refused.status, &refused.json()["error"]), (401, &json!("invalid_token")), "{wrong}");
    }

    let revoke = async |subject: &str| {
        let body = json!({ "subject": subject, "issuer": provider.issuer });
        app.post("/revocations").by(&gate).json(body).send().await.is(200);
    };
    revoke("pairwise-1").await;
    app.verify(&first).await.is(204);
    revoke("jose <&\"é").await;
    app.verify(&first).await.is_revoked();
    app.verify(&second).await.is_revoked();
    app.verify(&other).await.is(204);
    // A logout from all devices, with one of the user's tokens.
    let another = token(&provider, "8", json!({"oid": "ana"}));
    app.post("/logout?scope=all").token(&another).send().await.is(200);
    app.verify(&other).await.is_revoked();
}

#[tokio::test]
async fn a_member_of_an_object_can_be_it() {
    let provider = Provider::start().await;
    let good = token(&provider, "1", json!({"https://shop.example": {"user": "jose"}}));
    let app = start(&provider, r"https\://shop\.example.user", &good).await;
    assert_eq!(app.verify(&good).await.header("x-adieu-subject"), Some("jose"));
    for wrong in [json!({"https://shop": {"example": {"user": "jose"}}}), json!({"https://shop.example": "jose"})] {
        app.verify(&token(&provider, "2", wrong)).await.is(401);
    }
}

#[tokio::test]
async fn a_logout_token_names_the_subject_by_the_same_claim() {
    let provider = Provider::start().await;
    let [jose, ana] = ["jose", "ana"].map(|user| token(&provider, user, json!({"oid": user})));
    let app = start(&provider, "oid", &jose).await;
    let send = async |changes: Value| {
        let logout = provider.logout_token(changes);
        app.post("/backchannel-logout").form(format!("logout_token={logout}")).send().await
    };
    let refused = send(json!({"sub": "jose"})).await;
    let error = json!({"error": "invalid_request", "error_description": "the token lacks the claim `oid`, which is to be its subject"});
    assert_eq!((refused.status, refused.json()), (400, error));
    send(json!({"sub": "jose", "oid": 7})).await.is(400);
    app.verify(&jose).await.is(204);
    send(json!({"sub": "ana", "oid": "jose"})).await.is(200);
    app.verify(&jose).await.is_revoked();
    app.verify(&ana).await.is(204);
    // A session needs no subject.
    send(json!({"sub": "pairwise", "sid": "ana"})).await.is(200);
    app.verify(&ana).await.is_revoked();
}

/// An integer is the subject that its digits are, in a logout token as in an access token.
#[tokio::test]
async fn an_integer_logs_out() {
    let provider = Provider::start().await;
    let app = provider.app_with(&format!("accept_integer_subject = true, events = {EVERY_KIND}"), &[]).await;
    for (sub, session) in [(json!(7), "s1"), (json!(8.0), "s2"), (json!("9"), "s3")] {
        let digits = sub.as_f64().map_or("9".to_owned(), |number| number.to_string());
        let access = provider.access(&digits, session);
        app.verify(&access).await.is(204);
        let logout = provider.logout_token(json!({"sub": sub}));
        app.post("/backchannel-logout").form(format!("logout_token={logout}")).send().await.is(200);
        app.verify(&access).await.is_revoked();
    }
    for sub in [json!(7.5), json!(1e300), json!(9_007_199_254_740_993_u64), json!(true), json!(null)] {
        let logout = provider.logout_token(json!({"sub": sub}));
        app.post("/backchannel-logout").form(format!("logout_token={logout}")).send().await.is(400);
    }
}
