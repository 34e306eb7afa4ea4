//! The server and a service that follows it give the same verdicts as every other implementation; the table is in `tests/verdicts.json`.

use std::{collections::BTreeMap, fs, sync::Arc};

use adieu::{
    Error, Issuer,
    time::{Clock as _, SystemClock},
    token::Rules,
};
use adieu_client::{
    Service,
    transport::{Http, Transport},
};
use adieu_server::clients::Capability;
use async_trait::async_trait;
use axum::http::{Request, Response};
use serde_json::json;

use crate::{
    support::{Answer, Credentials, TestApp},
    verdicts::{GOOD, Row, Signer, Table, base64url},
};

/// A server that trusts the issuers of the table.
async fn trusting(table: &Table) -> (TestApp, tempfile::TempDir, Credentials) {
    let keys = tempfile::tempdir().unwrap();
    let issuers = table.issuers.iter().enumerate().map(|(number, (name, issuer))| {
        let file = keys.path().join(format!("{number}.pem"));
        fs::write(&file, &issuer.public_key).unwrap();
        let settings: String = issuer.settings.iter().map(|(name, value)| format!(", {name} = {value}")).collect();
        let key_id = issuer.key_id.as_ref().map(|id| format!(", key_id = {id:?}")).unwrap_or_default();
        let claims = &issuer.revocable_claims;
        format!("{{ name = {name:?}, pem_file = {file:?}{settings}{key_id}, revocable_claims = {claims:?} }}")
    });
    let issuers = format!("[{}]", issuers.collect::<Vec<_>>().join(", "));
    let app = TestApp::with(&[("trusted_issuer", &issuers)]).await.with_admin("boss").await;
    let client = app.client("gate", &[Capability::Follow, Capability::Revoke, Capability::Introspect]).await;
    (app, keys, client)
}

async fn revoke(app: &TestApp, rows: &[(&Row, String)]) {
    let admin = app.log_in("boss").await.access;
    // In one call: otherwise each subject would wait until the second of its cut-off is over.
    let all: Vec<_> = rows.iter().flat_map(|(row, token)| row.revocations(token)).collect();
    app.post("/revocations").token(&admin).json(json!({"revocations": all})).send().await.is(200);
}

fn verdict(answer: &Answer) -> String {
    match answer.status {
        200 | 204 => GOOD.to_owned(),
        _ => answer.json()["error"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(),
    }
}

#[tokio::test]
async fn the_server_judges_every_row_of_the_table_as_it_says() {
    let table = Table::read();
    let (app, _keys, client) = trusting(&table).await;
    let rows = table.tokens(SystemClock.now().as_unix());
    revoke(&app, &rows).await;
    for (row, token) in &rows {
        assert_eq!(verdict(&app.verify(token).await), row.verify, "{}: {token}", row.name);
        let told = app.post("/introspect").by(&client).form(format!("token={token}")).send().await;
        told.is(200);
        assert_eq!(told.json()["active"], json!(row.verify == GOOD), "{}: {token}", row.name);
    }
    for (row, token) in &rows {
        let logged_out = app.post("/logout").token(token).send().await;
        assert_eq!(verdict(&logged_out), row.log_out, "{}: {token}", row.name);
        assert_ne!(verdict(&app.verify(token).await), GOOD, "{}: {token}", row.name);
    }
}

/// A network that serves the keys of the issuers.
#[derive(Debug)]
struct WithKeys {
    http: Http,
    documents: BTreeMap<String, Vec<u8>>,
}

#[async_trait]
impl Transport for WithKeys {
    async fn send(&self, request: Request<Vec<u8>>, max_body: usize) -> Result<Response<Vec<u8>>, Error> {
        match self.documents.get(&request.uri().to_string()) {
            Some(document) => Ok(Response::new(document.clone())),
            None => self.http.send(request, max_body).await,
        }
    }
}

fn keys_url(issuer: &str) -> String {
    format!("{issuer}/jwks.json")
}

/// Returns the rules of an issuer, as a function without captures.
fn rules(issuer: &Signer) -> fn(Rules) -> Rules {
    let settings: Vec<_> = issuer.settings.keys().map(String::as_str).collect();
    match settings.as_slice() {
        [] => |rules| rules,
        ["accept_generic_type"] => Rules::accept_generic_type,
        ["accept_missing_type"] => Rules::accept_missing_type,
        ["accept_missing_issuer", "accept_missing_type"] => |rules| rules.accept_missing_type().accept_missing_issuer(),
        ["accept_missing_token_id", "accept_missing_type"] => {
            |rules| rules.accept_missing_type().accept_missing_token_id()
        }
        ["accept_integer_subject", "accept_missing_type"] => {
            |rules| rules.accept_missing_type().accept_integer_subject()
        }
        others => panic!("{others:?}: no rules for these"),
    }
}

#[tokio::test]
async fn a_service_judges_every_row_of_the_table_as_it_says() {
    let table = Table::read();
    let (app, _keys, client) = trusting(&table).await;
    let rows = table.tokens(SystemClock.now().as_unix());
    revoke(&app, &rows).await;

    let document = |issuer: &Signer| serde_json::to_vec(&issuer.keys().jwks()).unwrap();
    let documents = table.issuers.iter().map(|(name, issuer)| (keys_url(name), document(issuer)));
    let transport = Arc::new(WithKeys { http: Http::new().unwrap(), documents: documents.collect() });
    for (name, issuer) in &table.issuers {
        let service =
            Service::builder(Issuer::new(name).unwrap(), app.url("/"), &client.name, client.secret.clone().into())
                .with_keys_url(keys_url(name))
                .with_rules(rules(issuer))
                .with_transport(transport.clone())
                .start()
                .unwrap();
        service.ready().await.unwrap();
        let verdict = |token: &str| service.verifier().verify(token).map_or_else(|refusal| refusal.code(), |_| GOOD);
        let rows: Vec<_> = rows.iter().filter(|(row, _)| row.issuer == *name).collect();
        for (row, token) in &rows {
            assert_eq!(verdict(token), row.verify, "{}: {token}", row.name);
        }
        for (row, token) in rows.iter().filter(|(row, _)| row.verify == GOOD) {
            service.log_out(&service.verifier().verify(token).unwrap()).await.unwrap();
            assert_eq!(verdict(token), "token_revoked", "{}: {token}", row.name);
        }
    }
}

/// Returns the SHA-256 of the signing input.
fn id_of(token: &str) -> String {
    let (signing_input, _) = token.rsplit_once('.').unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signing_input.as_bytes());
    base64url(digest.as_ref())
}

#[tokio::test]
async fn what_stands_for_a_token_without_an_id_is_the_same_everywhere() {
    let table = Table::read();
    for one in &table.token_ids {
        assert_eq!(one["token_id"], json!(id_of(one["token"].as_str().unwrap())));
    }
    let (app, _keys, client) = trusting(&table).await;
    let rows = table.tokens(SystemClock.now().as_unix());
    let nameless: Vec<_> = rows.iter().filter(|(row, _)| row.verify == GOOD && row.token_id().is_none()).collect();
    assert!(!nameless.is_empty());
    for (row, token) in nameless {
        let told = app.post("/introspect").by(&client).form(format!("token={token}")).send().await;
        assert_eq!(told.json()["jti"], json!(id_of(token)), "{}", row.name);
        app.post("/revocations")
            .by(&client)
            .json(json!({"token_id": id_of(token), "issuer": row.issuer}))
            .send()
            .await
            .is(200);
        app.verify(token).await.is_revoked();
    }
}
