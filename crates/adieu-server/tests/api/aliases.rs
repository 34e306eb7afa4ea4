//! Events that name users by e-mail addresses and other identifiers that are not in their tokens.

use adieu_server::{
    aliases::{AliasFilter, KnownAlias},
    clients::Capability,
};
use serde_json::{Value, json};

use crate::{
    provider::{CLIENT, EVERY_KIND, Provider, appended, changed, now},
    support::{Answer, TestApp},
};

const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

impl Provider {
    async fn app_with_aliases(&self) -> TestApp {
        self.app_with(&format!(r#"events = {EVERY_KIND}, alias_claims = ["email", "phone_number"]"#), &[]).await
    }

    /// A token of a user with these further claims.
    fn token_with(&self, subject: &str, further: Value) -> String {
        let claims = json!({"iss": self.issuer, "sub": subject, "aud": "api", "jti": format!("{subject}-1"), "iat": now() - 60, "exp": now() + 900});
        self.key.sign(Some("at+jwt"), &changed(claims, further))
    }

    async fn push(&self, app: &TestApp, subject: Value) -> Answer {
        let claims = json!({"iss": self.issuer, "aud": [CLIENT], "iat": now(), "jti": "1", "sub_id": subject, "events": {DISABLED: {}}});
        let event = self.key.sign(Some("secevent+jwt"), &claims);
        app.post("/events").header("content-type", "application/secevent+jwt").body(event).send().await
    }

    async fn revoke_globally(&self, app: &TestApp, subject: Value) -> Answer {
        let token = self.request_token(json!({}));
        app.post("/global-token-revocation").token(&token).json(json!({ "sub_id": subject })).send().await
    }

    /// The body that adds an alias.
    fn alias(&self, subject: &str, format: &str, value: &str) -> Value {
        json!({"issuer": self.issuer, "subject": subject, "format": format, "value": value})
    }
}

fn email(email: &str) -> Value {
    json!({"format": "email", "email": email})
}

async fn stored(app: &TestApp) -> Vec<(String, String, String)> {
    let all = app.node.aliases.store().aliases(&AliasFilter::default(), None, 100).await.unwrap();
    let facts = |KnownAlias { named, .. }| {
        (named.alias.kind().to_string(), named.alias.value().to_owned(), named.subject.to_string())
    };
    all.into_iter().map(facts).collect()
}

#[tokio::test]
async fn an_address_in_a_token_names_its_user() {
    let provider = Provider::start().await;
    let app = provider.app_with_aliases().await;
    let jose = provider.token_with("jose", json!({"email": "Jose@Example.com", "email_verified": true}));
    let ana = provider.token_with(
        "ana",
        json!({"phone_number": "+1 (206) 555-0100", "phone_number_verified": true, "email": "office@example.com", "email_verified": true}),
    );
    let zoe = provider.token_with("zoe", json!({"email": "office@example.com", "email_verified": "true"}));
    let kim = provider.token_with("kim", json!({"email": "kim@example.com", "email_verified": true}));
    for token in [&jose, &ana, &zoe, &kim] {
        app.verify(token).await.is(204);
    }
    // At once: what waits to be written counts too.
    provider.push(&app, email("jose@example.COM")).await.reads("202 ");
    app.verify(&jose).await.is_revoked();
    app.verify(&ana).await.is(204);
    // Two users with the same address.
    provider.revoke_globally(&app, email("office@example.com")).await.reads("204 ");
    app.verify(&ana).await.is_revoked();
    app.verify(&zoe).await.is_revoked();
    app.verify(&kim).await.is(204);

    // All of it is in the store after the server has stopped.
    let table = provider.table(&format!("events = {EVERY_KIND}"));
    let app = app.start_again(&[("trusted_issuer", &format!("[{table}]"))]).await;
    while app.verify(&kim).await.status != 204 {
        tokio::task::yield_now().await;
    }
    let alias = |kind: &str, value: &str, subject: &str| (kind.to_owned(), value.to_owned(), subject.to_owned());
    assert_eq!(
        stored(&app).await,
        [
            alias("email", "jose@example.com", "jose"),
            alias("email", "kim@example.com", "kim"),
            alias("email", "office@example.com", "ana"),
            alias("email", "office@example.com", "zoe"),
            alias("phone_number", "+12065550100", "ana"),
        ]
    );
    provider.push(&app, email("kim@example.com")).await.reads("202 ");
    app.verify(&kim).await.is_revoked();
    // Without `alias_claims`, nothing more is recorded.
    app.verify(&provider.token_with("lee", json!({"email": "lee@example.com", "email_verified": true}))).await.is(204);
    provider.revoke_globally(&app, email("lee@example.com")).await.is(404);
    assert_eq!(stored(&app).await.len(), 5);
}

#[tokio::test]
async fn only_what_the_issuer_has_verified_is_recorded() {
    let provider = Provider::start().await;
    let events = format!(r#"events = {EVERY_KIND}, alias_claims = ["email"]"#);
    let app = provider.app_with(&events, &[("max_token_bytes", "65536")]).await;
    let client = app.client("till", &[Capability::Introspect]).await;
    for (number, claims) in [
        json!({"email": "a@example.com", "email_verified": false}),
        json!({"email": "b@example.com", "email_verified": "false"}),
        json!({"email": "c@example.com", "email_verified": null}),
        json!({"email": "d@example.com", "email_verified": 1}),
        json!({"email": "d@example.com", "email_verified": [false, true]}),
        json!({"email": "d@example.com", "email_verified": ["x", "true"]}),
        json!({"email": "d@example.com", "email_verified": []}),
        json!({"email": "e@example.com", "phone_number_verified": true}),
        json!({"email": {"email": "f@example.com"}, "email_verified": true}),
        json!({"email": "", "email_verified": true}),
        json!({"email": format!("{}@example.com", "g".repeat(10_000)), "email_verified": true}),
        json!({"email": "h\u{0}@example.com", "email_verified": true}),
        // A claim that is not recorded.
        json!({"phone_number": "+12065550100", "phone_number_verified": true}),
    ]
    .into_iter()
    .enumerate()
    {
        let token = provider.token_with(&format!("user{number}"), claims);
        app.verify(&token).await.is(204);
        app.verify(&token).await.is(204);
    }
    let rejected =
        provider.token_with("lee", json!({"email": "lee@example.com", "email_verified": true, "exp": now() - 30}));
    app.verify(&rejected).await.is(401);
    // The last one, by the other way.
    let token = provider.token_with("jose", json!({"email": "jose@example.com", "email_verified": true}));
    let introspected = app.post("/introspect").by(&client).form(format!("token={token}")).send().await;
    assert_eq!(introspected.json()["active"], true, "{introspected}");
    let is_counted = |line: &str| app.node.metrics.render().unwrap().lines().any(|counted| counted == line);
    while !is_counted("adieu_aliases_recorded_total 1") {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&app).await, [("email".to_owned(), "jose@example.com".to_owned(), "jose".to_owned())]);
    assert!(is_counted("adieu_aliases_dropped_total 0"));
}

#[tokio::test]
async fn what_can_not_be_written_is_written_later() {
    let provider = Provider::start().await;
    let app = provider.app_with_aliases().await;
    app.execute("ALTER TABLE alias RENAME TO alias_out_of_reach");
    let token = provider.token_with("jose", json!({"email": "jose@example.com", "email_verified": true}));
    app.verify(&token).await.is(204);
    // Whether another user has the address is not known: the sender tries again.
    let before = appended(&app.node);
    assert_eq!(provider.push(&app, email("jose@example.com")).await.status, 503);
    assert_eq!(provider.revoke_globally(&app, email("jose@example.com")).await.status, 503);
    let body = provider.alias("jose", "email", "j@example.com");
    let client = app.client("till", &[Capability::Revoke]).await;
    assert_eq!(app.post("/aliases").by(&client).json(body).send().await.status, 503);
    assert_eq!(appended(&app.node), before);
    // An event that names nobody by an alias needs none.
    provider.push(&app, json!({"format": "iss_sub", "iss": provider.issuer, "sub": "kim"})).await.is(202);
    app.execute("ALTER TABLE alias_out_of_reach RENAME TO alias");
    while stored(&app).await.is_empty() {
        tokio::task::yield_now().await;
    }
    provider.push(&app, email("jose@example.com")).await.is(202);
    app.verify(&token).await.is_revoked();
}

#[tokio::test]
async fn an_alias_that_is_not_known_is_said_to_be() {
    let provider = Provider::start().await;
    let app = provider.app_with_aliases().await;
    provider.push(&app, email("jose@example.com")).await.reads("202 ");
    provider.push(&app, email(&"x".repeat(4_000))).await.reads("202 ");
    provider.revoke_globally(&app, email("jose@example.com")).await.reads(r#"404 {"code":404,"status":"Not Found"}"#);
    // The session is known, the user is not: it may have others.
    let token = provider.token_with("ana", json!({"sid": "s1"}));
    let session = json!({"format": "opaque", "id": "s1"});
    provider
        .push(&app, json!({"format": "complex", "user": email("ana@example.com"), "session": session}))
        .await
        .is(202);
    app.verify(&token).await.is_revoked();
    insta::assert_snapshot!(provider.counted_in(&app), @r#"
    adieu_events_total{issuer="ISSUER",kind="account-disabled",outcome="revoked"} 1
    adieu_events_total{issuer="ISSUER",kind="account-disabled",outcome="unknown_subject"} 3
    adieu_events_total{issuer="ISSUER",kind="global-token-revocation",outcome="unknown_subject"} 1
    "#);
}

#[tokio::test]
async fn an_alias_is_of_one_issuer() {
    let (provider, other) = (Provider::start().await, Provider::start().await);
    let recorded = format!(r#"events = {EVERY_KIND}, alias_claims = ["email"]"#);
    let app =
        TestApp::with(&[("trusted_issuer", &format!("[{}, {}]", provider.table(&recorded), other.table(&recorded)))])
            .await;
    let claims = json!({"email": "jose@example.com", "email_verified": true});
    let (here, there) = (provider.token_with("jose", claims.clone()), other.token_with("jose", claims));
    for token in [&here, &there] {
        while app.verify(token).await.status != 204 {
            tokio::task::yield_now().await;
        }
    }
    other.push(&app, email("jose@example.com")).await.is(202);
    app.verify(&there).await.is_revoked();
    app.verify(&here).await.is(204);
    let client = app.client("till", &[Capability::Revoke]).await;
    app.post("/aliases")
        .by(&client)
        .json(provider.alias("jose", "account", "acct:jose@example.com"))
        .send()
        .await
        .is(200);
    let account = json!({"format": "account", "uri": "acct:jose@example.com"});
    other.revoke_globally(&app, account.clone()).await.is(404);
    app.verify(&here).await.is(204);
    provider.revoke_globally(&app, account).await.is(204);
    app.verify(&here).await.is_revoked();
}

#[tokio::test]
async fn administrators_and_clients_keep_aliases() {
    let provider = Provider::start().await;
    let app = provider.app().await.with_admin("boss").await.with_user("jose").await;
    let (boss, jose) = (app.log_in("boss").await.access, app.log_in("jose").await.access);
    let (till, shop) =
        (app.client("till", &[Capability::Revoke]).await, app.client("shop", &[Capability::Follow]).await);
    for (subject, format, value) in [
        ("jose", "email", "Jose@example.com"),
        ("jose", "did", "did:example:123456"),
        ("ana", "phone_number", "+12065550100"),
        ("ana", "uri", "https://user.example.com/"),
    ] {
        let body = provider.alias(subject, format, value);
        app.post("/aliases").token(&boss).json(body.clone()).send().await.reads(r#"200 {"message":"Alias added."}"#);
        app.post("/aliases").by(&till).json(body).send().await.is(200);
    }
    let listed = app.get("/aliases?limit=3").token(&boss).send().await;
    assert_eq!(listed.header("cache-control"), Some("no-store"));
    let page = listed.json();
    let fact = |alias: &Value| {
        assert!(alias["issuer"] == provider.issuer.as_str() && alias["seen_at"].as_u64().unwrap() <= now());
        ["format", "value", "subject"].map(|name| alias[name].as_str().unwrap().to_owned()).join(" ")
    };
    let facts = |page: &Value| page["aliases"].as_array().unwrap().iter().map(fact).collect::<Vec<_>>();
    assert_eq!(
        facts(&page),
        ["did did:example:123456 jose", "email jose@example.com jose", "phone_number +12065550100 ana"]
    );
    let next = format!("/aliases?limit=3&after={}", page["next"].as_str().unwrap());
    let page = app.get(&next).token(&boss).send().await.json();
    assert_eq!((facts(&page), &page["next"]), (vec!["uri https://user.example.com/ ana".to_owned()], &Value::Null));
    let of_ana = app.get("/aliases?subject=ana&issuer=https://other.example").token(&boss).send().await.json();
    assert_eq!(facts(&of_ana), [""; 0]);
    assert_eq!(facts(&app.get("/aliases?subject=ana").token(&boss).send().await.json()).len(), 2);

    let token = provider.access_from("jose", "s1", now() - 60);
    app.verify(&token).await.is(204);
    let remove = |body: Value| app.post("/aliases/remove").token(&boss).json(body).send();
    remove(json!({"issuer": provider.issuer, "subject": "ana"}))
        .await
        .reads(r#"200 {"message":"Aliases removed.","removed":2}"#);
    remove(provider.alias("ana", "email", "jose@example.com"))
        .await
        .reads(r#"200 {"message":"Aliases removed.","removed":0}"#);
    provider.revoke_globally(&app, json!({"format": "phone_number", "phone_number": "+12065550100"})).await.is(404);
    let removed = changed(provider.alias("", "email", "JOSE@example.com"), json!({"subject": null}));
    app.post("/aliases/remove").by(&till).json(removed).send().await.is(200);
    provider.revoke_globally(&app, email("jose@example.com")).await.is(404);
    app.verify(&token).await.is(204);
    provider.revoke_globally(&app, json!({"format": "did", "url": "did:example:123456"})).await.is(204);
    app.verify(&token).await.is_revoked();

    // Others may not, and not everything is an alias.
    let body = provider.alias("jose", "email", "jose@example.com");
    for path in ["/aliases", "/aliases/remove"] {
        app.post(path).json(body.clone()).send().await.is(401);
        app.post(path).token(&jose).json(body.clone()).send().await.is(403);
        app.post(path).by(&shop).json(body.clone()).send().await.is(403);
        app.post(path).token(&provider.access("jose", "s2")).json(body.clone()).send().await.is(401);
        app.post(path).token(&boss).form("issuer=x").send().await.is(415);
        app.post(path).token(&boss).json(json!([])).send().await.is(422);
        for changes in [
            json!({"format": "iss_sub"}),
            json!({"format": null}),
            json!({"value": ""}),
            json!({"value": "x".repeat(10_000)}),
            json!({"value": "\u{0}"}),
            json!({"value": 7}),
            json!({"issuer": null}),
            json!({"subject": ""}),
            json!({"email": "jose@example.com"}),
        ] {
            let answer = app.post(path).token(&boss).json(changed(body.clone(), changes.clone())).send().await;
            assert_eq!(answer.status, 422, "{changes}: {answer}");
        }
    }
    let elsewhere = changed(body.clone(), json!({"issuer": "https://other.example"}));
    app.post("/aliases").token(&boss).json(elsewhere).send().await.reads(
        r#"422 {"code":422,"errors":{"json":{"issuer":["Not a trusted_issuer of the settings."]}},"status":"Unprocessable Entity"}"#,
    );
    remove(json!({"issuer": provider.issuer})).await.is(422);
    for (path, status) in [("/aliases?limit=0", 422), ("/aliases?after=x", 422), ("/aliases?value=x", 422)] {
        app.get(path).token(&boss).send().await.is(status);
    }
    app.get("/aliases").token(&jose).send().await.is(403);
    app.get("/aliases").by(&till).send().await.is(401);
    app.get("/aliases").send().await.is(401);
    assert_eq!(stored(&app).await.len(), 1);
}

#[tokio::test]
async fn an_alias_counts_as_a_revocation_of_the_client() {
    let provider = Provider::start().await;
    let app = provider.app_with(&format!("events = {EVERY_KIND}"), &[("client_revocation_quota", "2 per 1h")]).await;
    let client = app.client("till", &[Capability::Revoke]).await;
    let body = provider.alias("jose", "email", "jose@example.com");
    app.post("/aliases").by(&client).json(body.clone()).send().await.is(200);
    app.post("/aliases/remove").by(&client).json(body.clone()).send().await.is(200);
    app.post("/aliases").by(&client).json(body).send().await.is(429);
    assert_eq!(stored(&app).await, []);
}

#[tokio::test]
async fn what_waits_to_be_written_is_removed_too() {
    let provider = Provider::start().await;
    let app = provider.app_with_aliases().await.with_admin("boss").await;
    let boss = app.log_in("boss").await.access;
    for number in 0..5 {
        let user = format!("user{number}");
        let token = provider.token_with(&user, json!({"email": format!("{user}@example.com"), "email_verified": true}));
        app.verify(&token).await.is(204);
        let removed = json!({"issuer": provider.issuer, "subject": user});
        let removed = app.post("/aliases/remove").token(&boss).json(removed).send().await;
        assert_eq!(removed.json()["removed"], 1, "{removed}");
    }
    // Once a later one is written, so are those from before.
    app.verify(&provider.token_with("kim", json!({"email": "kim@example.com", "email_verified": true}))).await.is(204);
    while !stored(&app).await.iter().any(|(_, _, subject)| subject == "kim") {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&app).await.len(), 1);
}
