//! The OpenAPI document describes exactly what the server does.

use std::{collections::BTreeSet, time::Duration};

use adieu_server::{
    accounts::{Invite, Whose},
    clients::{Capability, SecretHash},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PASSWORD, TestApp, credentials, operations};

#[tokio::test]
async fn the_document_is_served_and_its_page_needs_nobody_else() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").send().await;
    assert_eq!(document.json(), serde_json::to_value(adieu_server::api::document()).unwrap());
    let page = reqwest::get(app.url("/docs")).await.unwrap().bytes().await.unwrap();
    let page = std::io::read_to_string(flate2::read::GzDecoder::new(&*page)).unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(!page.contains("//cdn") && !page.contains("https://"), "{page}");
    for path in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let file = app.get(path).send().await;
        file.is(200);
        // As it is in the program, which is 3 MB smaller for it.
        assert_eq!(file.header("content-encoding"), Some("gzip"), "{path}");
    }
    let start = app.get("/docs/swagger-initializer.js").send().await.body;
    assert!(start.contains(r#""url": "/openapi.json""#) && start.contains(r#""validatorUrl": "none""#), "{start}");
}

#[tokio::test]
async fn every_method_that_a_route_answers_to_is_documented() {
    let app = TestApp::start().await;
    let paths: BTreeSet<_> = operations().into_keys().map(|(_, path)| path).collect();
    for path in paths.iter().filter(|path| *path != "/verify") {
        let answer = app.call(Method::TRACE, &path.replace("{id}", "x").replace("{sid}", "x")).send().await;
        answer.is(405);
        // GET answers HEAD as well.
        let allowed: BTreeSet<_> =
            answer.header("allow").unwrap().split(',').filter(|method| *method != "HEAD").collect();
        let documented: BTreeSet<_> =
            operations().into_keys().filter(|(_, other)| other == path).map(|(method, _)| method).collect();
        assert_eq!(allowed, documented.iter().map(String::as_str).collect(), "{path}");
    }
}

#[test]
fn the_routes_are_these() {
    let routes: Vec<_> = operations().into_keys().map(|(method, path)| format!("{path} {method}")).collect();
    let routes: BTreeSet<_> = routes.into_iter().collect();
    insta::assert_snapshot!(routes.into_iter().collect::<Vec<_>>().join("\n"), @r"
    /.well-known/jwks.json GET
    /.well-known/oauth-authorization-server GET
    /admin/sessions GET
    /aliases GET
    /aliases POST
    /aliases/remove POST
    /backchannel-logout POST
    /deliveries GET
    /deliveries/{receiver}/replay POST
    /deliveries/{receiver}/skip POST
    /events POST
    /global-token-revocation POST
    /introspect POST
    /invites GET
    /invites POST
    /invites/{id} DELETE
    /livez GET
    /login POST
    /logout POST
    /password POST
    /password/change POST
    /password/reset POST
    /password/reset-token POST
    /readyz GET
    /refresh POST
    /register POST
    /revocations GET
    /revocations POST
    /revoke POST
    /sessions GET
    /sessions/events GET
    /sessions/{sid} DELETE
    /user/{id} DELETE
    /user/{id} GET
    /users GET
    /users/{id}/demote POST
    /users/{id}/disable POST
    /users/{id}/enable POST
    /users/{id}/password POST
    /users/{id}/promote POST
    /users/{id}/require-password-change POST
    /users/{id}/reset-token POST
    /users/{id}/sessions DELETE
    /users/{id}/sessions GET
    /verify DELETE
    /verify GET
    /verify HEAD
    /verify OPTIONS
    /verify PATCH
    /verify POST
    /verify PUT
    /verify TRACE
    /webhooks/{name} POST
    ");
}

#[test]
fn each_operation_is_described_with_its_refusals_and_every_answer_has_a_description_and_an_example() {
    let document = serde_json::to_value(adieu_server::api::document()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name} has the name of another");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(["431", "500"].iter().all(|status| responses.contains_key(*status)), "{name}");
            let needs_token = !operation["security"].as_array().unwrap().is_empty();
            assert!(!needs_token || (responses.contains_key("401") && responses.contains_key("400")), "{name}");
            let has_body = operation.get("requestBody").is_some();
            // Errors in a form are 400 (RFC 6749 §5.2).
            let is_form = operation["requestBody"]["content"].get("application/x-www-form-urlencoded").is_some();
            // Those in an event too (RFC 8935 §2.3).
            let is_form = is_form || path == "/events" || path == "/webhooks/{name}";
            let wrong = if is_form { &["400", "408", "413"][..] } else { &["400", "408", "413", "415", "422"] };
            assert!(!has_body || wrong.iter().all(|status| responses.contains_key(*status)), "{name}");
            for (status, response) in responses {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
                // 431 is sent before the route is known.
                if status.as_str() >= "400" && status != "431" && method != "head" {
                    let examples = &response["content"]["application/json"]["examples"];
                    for (_, example) in examples.as_object().unwrap() {
                        let code = &example["value"]["code"];
                        assert!(code.is_null() || code.as_u64() == status.parse().ok(), "{name} {status}");
                    }
                }
            }
        }
    }
}

/// Requests that provoke each documented status. The support code checks, for every request of every test, that only documented statuses
/// occur.
#[tokio::test]
async fn each_documented_status_can_be_had() {
    let settings = [
        ("login_attempts_per_account", "1 per 1h"),
        ("login_attempts_per_address", "4 per 1h"),
        ("client_revocation_quota", "1 per 1h"),
        ("client_reset_quota", "2 per 1h"),
        ("trusted_issuer", "[{ name = 'shop', jwks_url = 'http://127.0.0.1:9/jwks.json' }]"),
    ];
    let app = TestApp::with(&settings).await.with_user("jose").await.with_admin("boss").await;
    let closed = TestApp::with(&[("registration", "closed")]).await;
    closed.post("/register").json(credentials("x", PASSWORD)).send().await.is(403);

    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let mut missing = operations();
    let change = |password: &str| json!({"username": "ana", "password": password, "new_password": "5678"});
    let other = TestApp::with(&settings).await.with_user("ana").await;
    let ana = other.claims(&other.log_in("ana").await).subject;
    other.node.accounts.require_password_change(&ana).await.unwrap();
    let reset = || json!({"token": "x", "new_password": "5678"});
    // A change of the password would make it void.
    let third = TestApp::with(&settings).await.with_user("ana").await;
    let id = third.claims(&third.log_in("ana").await).subject;
    let token = third.node.accounts.issue_reset(&id, Whose::Anyone).await.unwrap();
    let done = third.post("/password/reset").json(json!({"token": token, "new_password": "1"})).send().await;
    provoked(&mut missing, "POST", "/password/reset", done.status);
    for (path, body) in [
        ("/login", credentials("ana", PASSWORD)),
        ("/password/change", change(PASSWORD)),
        ("/password/change", change("wrong")),
        ("/password/change", change("wrong")),
        ("/password/change", json!({})),
        ("/password/change", json!({"username": "x".repeat(70_000)})),
        ("/password/reset", json!({"token": "x".repeat(70_000)})),
        ("/password/reset", reset()),
        ("/password/reset", reset()),
        ("/password/reset", reset()),
        ("/password/reset", reset()),
        ("/password/reset", reset()),
    ] {
        provoked(&mut missing, "POST", path, other.post(path).json(body).send().await.status);
    }
    // Not provoked here: these need a broken store, a slow client, a long head or a faulty handler.
    missing.values_mut().for_each(|statuses| statuses.retain(|status| ![408, 431, 500, 503].contains(status)));
    missing.get_mut(&("POST".into(), "/register".into())).unwrap().retain(|status| *status != 403);
    // A stream, which does not end: `session_events.rs` has it.
    missing.get_mut(&("GET".into(), "/sessions/events".into())).unwrap().retain(|status| ![200, 429].contains(status));
    // These need a receiver: `deliveries/operators.rs` has it.
    for call in ["replay", "skip"] {
        let path = format!("/deliveries/{{receiver}}/{call}");
        missing.get_mut(&("POST".into(), path)).unwrap().retain(|status| ![200, 409].contains(status));
    }
    // That needs thousands of requests.
    missing.get_mut(&("GET".into(), "/revocations".into())).unwrap().retain(|status| *status != 429);

    let long = || json!({"username": "x".repeat(70_000)});
    let alias = || json!({"issuer": "shop", "subject": "jose", "format": "email", "value": "jose@example.com"});
    let change = |password: &str| json!({"password": password, "new_password": "5678"});
    let user = app.user_id(&jose);
    let other_session = app.claims(&app.log_in("jose").await).session.unwrap();
    let boss_id = app.user_id(&boss);
    for (method, template, id, token, body) in [
        ("POST", "/register", "", None, Some(json!({"username": "new", "password": "1"}))),
        ("POST", "/register", "", None, Some(json!({"username": "new", "password": "1"}))),
        ("POST", "/register", "", None, Some(json!({"username": "newer", "password": "1"}))),
        ("POST", "/register", "", None, Some(json!({"username": "newest", "password": "1"}))),
        ("POST", "/register", "", None, Some(json!({}))),
        ("POST", "/register", "", None, Some(long())),
        ("POST", "/login", "", None, Some(credentials("jose", PASSWORD))),
        ("POST", "/login", "", None, Some(credentials("unknown", "x"))),
        ("POST", "/login", "", None, Some(credentials("unknown", "x"))),
        ("POST", "/login", "", None, Some(json!({}))),
        ("POST", "/login", "", None, Some(long())),
        ("GET", "/verify", "", Some(&jose), None),
        ("GET", "/sessions", "", Some(&jose), None),
        ("GET", "/sessions?x=1", "", Some(&jose), None),
        ("DELETE", "/sessions/{sid}", other_session.as_str(), Some(&jose), None),
        ("DELETE", "/sessions/{sid}", "none", Some(&jose), None),
        ("DELETE", "/sessions/{sid}?wait=x", "none", Some(&jose), None),
        ("POST", "/password", "", Some(&jose), Some(json!({}))),
        ("POST", "/password", "", Some(&jose), Some(long())),
        ("POST", "/password", "", Some(&jose), Some(change(PASSWORD))),
        ("POST", "/password", "", Some(&jose), Some(change("wrong"))),
        ("POST", "/password", "", Some(&jose), Some(change("wrong"))),
        ("POST", "/password", "", Some(&jose), Some(change("wrong"))),
        ("GET", "/user/{id}", &user, Some(&jose), None),
        ("GET", "/user/{id}", "x", Some(&jose), None),
        ("DELETE", "/user/{id}", "x", Some(&jose), None),
        ("DELETE", "/user/{id}", &boss_id, Some(&boss), None),
        ("DELETE", "/user/{id}?wait=x", &boss_id, Some(&boss), None),
        ("GET", "/users", "", Some(&boss), None),
        ("GET", "/users?limit=x", "", Some(&boss), None),
        ("GET", "/invites", "", Some(&boss), None),
        ("POST", "/invites", "", Some(&boss), Some(json!({}))),
        ("POST", "/invites", "", Some(&boss), Some(json!({"expires_in": 0}))),
        ("POST", "/invites", "", Some(&boss), Some(long())),
        ("DELETE", "/invites/{id}", "x", Some(&boss), None),
        ("GET", "/deliveries", "", Some(&boss), None),
        ("POST", "/deliveries/{receiver}/replay", "", Some(&boss), None),
        ("POST", "/deliveries/{receiver}/skip?message_id=x", "", Some(&boss), None),
        ("POST", "/deliveries/{receiver}/skip", "", Some(&boss), None),
        ("GET", "/admin/sessions", "", Some(&boss), None),
        ("GET", "/admin/sessions?x=1", "", Some(&boss), None),
        ("GET", "/users/{id}/sessions", &user, Some(&boss), None),
        ("GET", "/users/{id}/sessions", "x", Some(&boss), None),
        ("GET", "/users/{id}/sessions?x=1", &user, Some(&boss), None),
        ("DELETE", "/users/{id}/sessions", "x", Some(&boss), None),
        ("DELETE", "/users/{id}/sessions?wait=x", &user, Some(&boss), None),
        ("POST", "/users/{id}/disable", "x", Some(&boss), None),
        ("POST", "/users/{id}/disable?wait=x", &user, Some(&boss), None),
        ("POST", "/users/{id}/disable", &boss_id, Some(&boss), None),
        ("POST", "/users/{id}/enable", "x", Some(&boss), None),
        ("POST", "/users/{id}/enable", &user, Some(&boss), None),
        ("POST", "/users/{id}/enable", &user, Some(&boss), None),
        ("POST", "/users/{id}/promote", "x", Some(&boss), None),
        ("POST", "/users/{id}/demote", "x", Some(&boss), None),
        ("POST", "/users/{id}/demote?wait=x", &user, Some(&boss), None),
        ("POST", "/users/{id}/require-password-change", "x", Some(&boss), None),
        ("POST", "/users/{id}/reset-token", "x", Some(&boss), None),
        ("POST", "/users/{id}/password", "x", Some(&boss), Some(json!({"password": "1"}))),
        ("POST", "/users/{id}/password", &user, Some(&boss), Some(json!({}))),
        ("POST", "/users/{id}/password", &user, Some(&boss), Some(long())),
        ("POST", "/revocations", "", Some(&boss), Some(json!({"session": "x"}))),
        ("POST", "/revocations", "", Some(&boss), Some(json!({}))),
        ("POST", "/revocations", "", Some(&boss), Some(long())),
        ("GET", "/aliases", "", Some(&boss), None),
        ("GET", "/aliases?x=1", "", Some(&boss), None),
        ("POST", "/aliases", "", Some(&boss), Some(alias())),
        ("POST", "/aliases", "", Some(&boss), Some(json!({}))),
        ("POST", "/aliases", "", Some(&boss), Some(long())),
        ("POST", "/aliases/remove", "", Some(&boss), Some(alias())),
        ("POST", "/aliases/remove", "", Some(&boss), Some(json!({}))),
        ("POST", "/aliases/remove", "", Some(&boss), Some(long())),
        ("POST", "/logout?x=1", "", Some(&jose), None),
        ("GET", "/livez", "", None, None),
        ("GET", "/readyz", "", None, None),
        ("GET", "/.well-known/jwks.json", "", None, None),
    ] {
        let path = template.replace("{id}", id).replace("{sid}", id);
        let mut call = app.call(method.parse().unwrap(), &path);
        if let Some(token) = token {
            call = call.token(&token.access);
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        provoked(&mut missing, method, template, call.send().await.status);
    }
    let (client, other) = (app.client("all", &Capability::ALL).await, app.client("none", &[]).await);
    for call in [
        app.post("/introspect").by(&client).form("token=x"),
        app.post("/introspect").by(&client).form("x=1"),
        app.post("/introspect").by(&client).form("x".repeat(70_000)),
        app.post("/introspect").by(&client).unlabelled("token=x"),
        app.post("/introspect").by(&other).form("token=x"),
    ] {
        provoked(&mut missing, "POST", "/introspect", call.send().await.status);
    }
    let elsewhere = TestApp::with(&[("issuer", "https://login.example")]).await;
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        for call in [elsewhere.get(path), elsewhere.get(path).header("if-none-match", "*"), app.get(path)] {
            provoked(&mut missing, "GET", path, call.send().await.status);
        }
    }
    for call in [
        app.post("/revoke").form("token=x"),
        app.post("/revoke").form("x=1"),
        app.post("/revoke").form("x".repeat(70_000)),
        app.post("/revoke").token("x").form("token=x"),
    ] {
        provoked(&mut missing, "POST", "/revoke", call.send().await.status);
    }
    for call in [
        app.get("/revocations").by(&client),
        app.get("/revocations").by(&other),
        app.get("/revocations?wait=x").by(&client),
    ] {
        provoked(&mut missing, "GET", "/revocations", call.send().await.status);
    }
    for _ in 0..2 {
        let revoked = app.post("/revocations").by(&client).json(json!({"token_id": "x"})).send().await;
        provoked(&mut missing, "POST", "/revocations", revoked.status);
    }
    let reset_token = || app.post("/password/reset-token");
    for call in [
        reset_token().by(&client).json(json!({"username": "jose"})),
        reset_token().by(&client).json(json!({"username": "boss"})),
        reset_token().by(&client).json(json!({"username": "jose"})),
        reset_token().by(&client).json(json!({})),
        reset_token().by(&client).json(long()),
        reset_token().by(&client).unlabelled("x"),
        reset_token().by(&client).text("{"),
        reset_token().by(&other).json(json!({"username": "jose"})),
    ] {
        provoked(&mut missing, "POST", "/password/reset-token", call.send().await.status);
    }
    for path in ["/aliases", "/aliases/remove"] {
        provoked(&mut missing, "POST", path, app.post(path).by(&client).json(alias()).send().await.status);
    }
    let refreshed = app.post("/refresh").token(&jose.refresh).send().await;
    provoked(&mut missing, "POST", "/refresh", refreshed.status);

    for ((method, template), statuses) in operations() {
        let path = template.replace("{id}", &user).replace("{sid}", "x");
        let call = || app.call(method.parse().unwrap(), &path);
        for status in statuses {
            let call = match status {
                400 if ["/login", "/register", "/password/change", "/password/reset"].contains(&&*template) => {
                    call().text("{")
                }
                400 => call().token("x").token("y"),
                // For clients, which no token is.
                403 | 415 if template == "/password/reset-token" => continue,
                204 => call().token(&jose.access),
                401 if ["/login", "/password/change"].contains(&&*template) => continue,
                401 => call(),
                403 if ["/login", "/register"].contains(&&*template) => continue,
                403 if template == "/verify" => {
                    app.call(method.parse().unwrap(), "/verify?admin=true").token(&jose.access)
                }
                422 if template == "/verify" => app.call(method.parse().unwrap(), "/verify?x=1").token(&jose.access),
                403 => call().token(&jose.access),
                415 => call().token(&boss.access).unlabelled("x"),
                _ => continue,
            };
            provoked(&mut missing, &method, &template, call.send().await.status);
        }
    }
    let (invite, _) = app.node.accounts.invite(Duration::from_secs(60)).await.unwrap();
    let many = (0..1_000).map(|number: u16| {
        let (id, secret) = (number.to_string(), SecretHash::of(&number.to_string()));
        app.node.accounts.store().add_invite(Invite { id, secret, ..invite.clone() })
    });
    assert!(futures_util::future::join_all(many).await.iter().all(Result::is_ok));
    let one_more = app.post("/invites").token(&boss.access).json(json!({})).send().await;
    provoked(&mut missing, "POST", "/invites", one_more.status);
    let revoked = app.delete(&format!("/invites/{}", invite.id)).token(&boss.access).send().await;
    provoked(&mut missing, "DELETE", "/invites/{id}", revoked.status);

    let set = app.post(&format!("/users/{user}/password")).token(&boss.access).json(json!({"password": "1"}));
    provoked(&mut missing, "POST", "/users/{id}/password", set.send().await.status);
    let last = app.post(&format!("/users/{boss_id}/demote")).token(&boss.access).send().await;
    provoked(&mut missing, "POST", "/users/{id}/demote", last.status);
    for (method, path) in [
        ("POST", "/users/{id}/promote"),
        ("POST", "/users/{id}/demote"),
        ("POST", "/users/{id}/require-password-change"),
        ("POST", "/users/{id}/reset-token"),
        ("POST", "/users/{id}/disable"),
        ("DELETE", "/users/{id}/sessions"),
        ("DELETE", "/user/{id}"),
    ] {
        let call = app.call(method.parse().unwrap(), &path.replace("{id}", &user)).token(&boss.access);
        provoked(&mut missing, method, path, call.send().await.status);
    }
    let logged_out = app.post("/logout").token(&boss.access).send().await;
    provoked(&mut missing, "POST", "/logout", logged_out.status);

    // Events need an issuer that sends them; their own tests provoke every status.
    missing.retain(|(_, path), statuses| {
        !["/backchannel-logout", "/events", "/global-token-revocation", "/webhooks/{name}"].contains(&path.as_str())
            && !statuses.is_empty()
    });
    assert!(missing.is_empty(), "documented, and not to be had: {missing:?}");
}

fn provoked(
    missing: &mut std::collections::BTreeMap<(String, String), Vec<u16>>,
    method: &str,
    template: &str,
    status: u16,
) {
    let template = template.split('?').next().unwrap();
    let statuses = missing.get_mut(&(method.to_owned(), template.to_owned())).unwrap();
    statuses.retain(|other| *other != status);
}

#[test]
fn the_document_needs_no_other() {
    let document = serde_json::to_value(adieu_server::api::document()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

/// A client that follows the document sends only what the server accepts, and knows which values it accepts.
#[test]
fn the_document_is_as_strict_as_the_server() {
    let document = serde_json::to_value(adieu_server::api::document()).unwrap();
    assert_eq!(document["servers"][0]["url"], "/");
    let for_everybody: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        })
        .filter(|(.., operation)| operation["security"] == serde_json::json!([]))
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    assert_eq!(
        for_everybody,
        [
            "get /.well-known/jwks.json",
            "get /.well-known/oauth-authorization-server",
            "post /backchannel-logout",
            "post /events",
            "get /livez",
            "post /login",
            "post /password/change",
            "post /password/reset",
            "get /readyz",
            "post /register",
            "post /webhooks/{name}"
        ]
    );
    let schemas = &document["components"]["schemas"];
    for schema in [
        "Credentials",
        "NewAccount",
        "PasswordChange",
        "PasswordReplacement",
        "PasswordResetRequest",
        "ResetTokenRequest",
        "NewPassword",
        "RevocationItem",
        "RevocationItems",
    ] {
        assert_eq!(schemas[schema]["additionalProperties"], false, "{schema}");
    }
    let parameter = |path: &str, method: &str, name: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let parameter = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
        parameter["schema"].to_string()
    };
    for (path, method, name, value) in [
        ("/logout", "post", "scope", r#""enum":["this","others","all"]"#),
        ("/logout", "post", "wait", r#""enum":["everywhere"]"#),
        ("/verify", "get", "admin", r#""enum":["true"]"#),
        ("/verify", "get", "fresh", r#""enum":["true"]"#),
        ("/verify", "get", "audience", r#""minLength":1"#),
    ] {
        let schema = parameter(path, method, name);
        assert!(schema.contains(value), "{path} {name}: {schema}");
    }
    // A pattern matches anywhere, unless it is anchored.
    let text = document.to_string();
    for pattern in text.split(r#""pattern":""#).skip(1) {
        assert!(pattern.starts_with('^') && pattern.split('"').next().unwrap().ends_with('$'), "{pattern:.60}");
    }
}
