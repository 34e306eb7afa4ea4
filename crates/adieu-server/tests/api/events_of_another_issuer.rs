//! Events that an organization signs, about the tokens of its authorization servers.

use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    provider::{ENDPOINT, Key, Provider, now},
    support::{Answer, TestApp},
};

/// An organization and two of its authorization servers, each with a key of its own.
struct Organization {
    events: Provider,
    staff: Provider,
    partners: Provider,
    app: TestApp,
}

impl Organization {
    async fn start() -> Self {
        Self::accepting([r#"["session-revoked", "global-token-revocation"]"#; 2]).await
    }

    /// Starts a server that accepts these kinds of events, for each of the two.
    async fn accepting(kinds: [&str; 2]) -> Self {
        let (events, staff, partners) = (Provider::start().await, Provider::start().await, Provider::start().await);
        let [of_staff, of_partners] =
            kinds.map(|kinds| format!(r#"events = {kinds}, event_issuer = {{ discovery = "{}" }}"#, events.issuer));
        let issuers = format!("[{}, {}]", staff.table(&of_staff), partners.table(&of_partners));
        let app = TestApp::with(&[("trusted_issuer", &issuers)]).await;
        let this = Self { events, staff, partners, app };
        for provider in [&this.staff, &this.partners] {
            while this.app.verify(&provider.access("nobody", "none")).await.status != 204 {
                tokio::task::yield_now().await;
            }
        }
        this
    }

    /// Has this key sign a session that was revoked in the name of the organization.
    async fn session_revoked(&self, key: &Key, subject: Value) -> Answer {
        let event = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        let claims = json!({
            "iss": self.events.issuer, "aud": ENDPOINT, "iat": now(), "jti": "1", "sub_id": subject, "events": {event: {}},
        });
        let token = key.sign(Some("secevent+jwt"), &claims);
        self.app.post("/events").header("content-type", "application/secevent+jwt").body(token).send().await
    }

    async fn all_tokens_of(&self, subject: Value) -> Answer {
        let claims = json!({
            "iss": self.events.issuer, "aud": ENDPOINT, "iat": now(), "exp": now() + 300, "jti": "1", "sub": "client",
        });
        let token = self.events.key.sign(Some("global-token-revocation+jwt"), &claims);
        self.app.post("/global-token-revocation").token(&token).json(json!({ "sub_id": subject })).send().await
    }

    /// Returns the counted events, with the names of the issuers in place of their addresses.
    fn counted(&self) -> String {
        let counted = self.staff.counted_in(&self.app).replace("ISSUER", "STAFF");
        let counted = counted.replace(&self.partners.issuer, "PARTNERS").replace(&self.events.issuer, "ORGANIZATION");
        let mut counted: Vec<_> = counted.lines().collect();
        counted.sort_unstable();
        counted.join("\n")
    }
}

fn user(issuer: &Provider, subject: &str) -> Value {
    json!({"format": "iss_sub", "iss": issuer.issuer, "sub": subject})
}

#[tokio::test]
async fn an_event_is_about_the_tokens_of_every_server() {
    let organization = Organization::start().await;
    let Organization { events, staff, partners, app } = &organization;
    let tokens = |subject: &str| [staff, partners].map(|server| server.access(subject, "s"));
    let [jose, ana, luis] = ["jose", "ana", "luis"].map(tokens);
    organization.session_revoked(&events.key, user(events, "jose")).await.is(202);
    for token in &jose {
        app.verify(token).await.is_revoked();
    }
    // A subject of one server.
    organization.session_revoked(&events.key, user(partners, "ana")).await.is(202);
    app.verify(&ana[0]).await.is(204);
    app.verify(&ana[1]).await.is_revoked();
    // A subject of neither.
    organization.session_revoked(&events.key, user(&Provider::start().await, "luis")).await.is(202);
    for token in &luis {
        app.verify(token).await.is(204);
    }
    assert_snapshot!(organization.counted(), @r#"
    adieu_events_total{issuer="PARTNERS",kind="session-revoked",outcome="revoked"} 2
    adieu_events_total{issuer="PARTNERS",kind="session-revoked",outcome="unknown_subject"} 1
    adieu_events_total{issuer="STAFF",kind="session-revoked",outcome="revoked"} 1
    adieu_events_total{issuer="STAFF",kind="session-revoked",outcome="unknown_subject"} 1
    "#);
}

#[tokio::test]
async fn a_subject_that_nobody_knows_is_reported_also_if_one_server_ignores_the_event() {
    let organization = Organization::accepting([r#"["session-revoked"]"#, r#"["global-token-revocation"]"#]).await;
    let stranger = user(&Provider::start().await, "luis");
    organization.session_revoked(&organization.events.key, stranger).await.is(202);
    assert_snapshot!(organization.counted(), @r#"
    adieu_events_total{issuer="PARTNERS",kind="session-revoked",outcome="ignored"} 1
    adieu_events_total{issuer="STAFF",kind="session-revoked",outcome="unknown_subject"} 1
    "#);
}

#[tokio::test]
async fn only_the_organization_sends_them() {
    let organization = Organization::start().await;
    let Organization { staff, partners, app, .. } = &organization;
    for key in [&staff.key, &partners.key, &Key::new("2026")] {
        organization.session_revoked(key, user(staff, "jose")).await.is(400);
    }
    // A logout at a server itself.
    let logout = staff.logout_token(json!({"sub": "jose"}));
    app.post("/backchannel-logout").form(format!("logout_token={logout}")).send().await.is(400);
    app.verify(&staff.access("jose", "s")).await.is(204);
}

#[tokio::test]
async fn its_new_key_works_at_once_and_without_its_keys_the_event_comes_again() {
    let organization = Organization::start().await;
    let Organization { events, staff, partners, app } = &organization;
    let (new, tokens) = (Key::new("2027"), [staff, partners].map(|server| server.access("jose", "s")));
    events.go_down();
    organization.session_revoked(&new, user(events, "jose")).await.is(503);
    events.publish(&[&new]);
    organization.session_revoked(&new, user(events, "jose")).await.is(202);
    for token in &tokens {
        app.verify(token).await.is_revoked();
    }
}

#[tokio::test]
async fn an_alias_is_looked_up_for_each_server() {
    let organization = Organization::start().await;
    let Organization { staff, partners, app, .. } = &organization;
    let address = json!({"format": "email", "email": "jose@example.com"});
    organization.all_tokens_of(address.clone()).await.is(404);
    let client = app.client("shop", &[Capability::Revoke]).await;
    let alias = json!({"issuer": partners.issuer, "subject": "jose", "format": "email", "value": "jose@example.com"});
    app.post("/aliases").by(&client).json(alias).send().await.is(200);
    let tokens = [staff, partners].map(|server| server.access("jose", "s"));
    organization.all_tokens_of(address).await.is(204);
    app.verify(&tokens[0]).await.is(204);
    app.verify(&tokens[1]).await.is_revoked();
    assert_snapshot!(organization.counted(), @r#"
    adieu_events_total{issuer="PARTNERS",kind="global-token-revocation",outcome="revoked"} 1
    adieu_events_total{issuer="PARTNERS",kind="global-token-revocation",outcome="unknown_subject"} 1
    adieu_events_total{issuer="STAFF",kind="global-token-revocation",outcome="unknown_subject"} 1
    "#);
}
