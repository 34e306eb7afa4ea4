//! Revocations by clients: single ones and batches, and the subjects that a client may revoke.

use std::time::Duration;

use adieu::{
    Issuer, TokenId,
    revocation::{Revocation, RevokedBy, Target, TokenFacts},
    time::Timestamp,
};
use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Credentials, TestApp};

const OTHER: &str = "https://other.example";

struct Service {
    app: TestApp,
    client: Credentials,
}

impl Service {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let app = TestApp::with(settings).await.with_user("jose").await.with_user("ana").await;
        let client = app.client("shop", &[Capability::Revoke]).await;
        Self { app, client }
    }

    async fn revoke(&self, body: Value) -> Answer {
        self.app.post("/revocations").by(&self.client).json(body).send().await
    }

    /// Returns the entries of the log.
    async fn log(&self) -> Vec<Revocation> {
        self.app.node.core.log().read(None, Duration::ZERO).await.unwrap().entries
    }

    /// Returns the revocation that a verifier of another issuer's tokens would find on this node.
    fn of_other(&self, token_id: &str, session: &str, subject: &str) -> Option<RevokedBy> {
        let now = self.app.node.clock.now();
        self.app.node.sessions.verifier().index().check(&TokenFacts {
            issuer: OTHER,
            token_id,
            session: Some(session),
            subject,
            issued_at: Some(now.minus(Duration::from_secs(60))),
            expires_at: now.plus(Duration::from_secs(600)),
            key_id: None,
            claims: None,
        })
    }
}

#[tokio::test]
async fn by_token_by_id_by_session_and_by_subject() {
    let service = Service::start().await;
    let app = &service.app;
    for (what, ended) in [("token", 0), ("refresh", 1), ("id", 0), ("id and exp", 0), ("session", 1), ("subject", 1)] {
        let tokens = app.log_in("jose").await;
        let claims = app.claims(&tokens);
        let body = match what {
            "token" => json!({"token": tokens.access}),
            "refresh" => json!({"token": tokens.refresh}),
            "id" => json!({"token_id": claims.token_id}),
            "id and exp" => json!({"token_id": claims.token_id, "expires_at": claims.expires_at}),
            "session" => json!({"session": claims.session, "issuer": "adieu"}),
            _ => json!({"subject": claims.subject}),
        };
        let expected = |ended| format!(r#"200 {{"message":"Revoked.","sessions_ended":{ended}}}"#);
        let revoked = service.revoke(body.clone()).await;
        if what != "subject" {
            revoked.reads(&expected(ended));
        }
        app.verify(&tokens.access).await.is_revoked();
        service.revoke(body).await.reads(&expected(0));
    }
}

/// Lookups do not use `keep_until`: services round and convert their knowledge of an `exp`.
#[tokio::test]
async fn a_token_is_revoked_whatever_is_said_of_how_long_to_keep_that() {
    let service = Service::start().await;
    let app = &service.app;
    for off in [-600_i64, -64, -2, -1, 0, 1, 2, 64, 86_400] {
        let tokens = app.log_in("jose").await;
        let claims = app.claims(&tokens);
        let until = claims.expires_at.as_unix().checked_add_signed(off).unwrap();
        service.revoke(json!({"token_id": claims.token_id, "keep_until": until})).await.is(200);
        app.verify(&tokens.access).await.is_revoked();
    }
}

#[tokio::test]
async fn it_takes_the_capability_and_everything_takes_an_administrator() {
    let service = Service::start().await;
    let app = &service.app;
    let tokens = app.log_in("jose").await;
    let follower = app.client("feed", &[Capability::Follow, Capability::Introspect]).await;
    let body = json!({"token": tokens.access});
    let refused = app.post("/revocations").by(&follower).json(body.clone()).send().await;
    assert_snapshot!(refused, @r#"403 {"code":403,"message":"This client may not revoke.","status":"Forbidden"}"#);
    let stranger = Credentials { name: "shop".into(), secret: "x".into() };
    let refused = app.post("/revocations").by(&stranger).json(body.clone()).send().await;
    assert_snapshot!(refused, @r#"401 {"code":401,"message":"Invalid client credentials.","status":"Unauthorized"}"#);
    assert_eq!(refused.header("www-authenticate"), Some(r#"Basic realm="adieu""#));
    let both = app.post("/revocations").by(&service.client).token(&tokens.access).json(body).send().await;
    both.is(400);
    for everything in [
        json!({"everything": true}),
        json!({"everything": true, "issuer": OTHER}),
        json!({"revocations": [{"token": tokens.access}, {"everything": true}]}),
    ] {
        let refused = service.revoke(everything).await;
        refused
            .reads(r#"403 {"code":403,"error":"administrators_only","message":"Only administrators may revoke everything.","status":"Forbidden"}"#);
    }
    app.verify(&tokens.access).await.is(204);
}

#[tokio::test]
async fn what_is_issued_after_the_answer_is_not_revoked_by_it() {
    let service = Service::start().await;
    let index = service.app.node.sessions.verifier().index();
    for round in 0..3 {
        let subject = format!("subject-{round}");
        let keep_until = service.app.node.clock.now().plus(Duration::from_secs(600));
        service.revoke(json!({ "subject": subject, "issuer": OTHER, "keep_until": keep_until })).await.is(200);
        // Under its issuer, which knows nothing of this server.
        let issued_at = service.app.node.clock.now();
        let issued = |issued_at| {
            let facts = TokenFacts {
                issuer: OTHER,
                token_id: "new",
                session: None,
                subject: &subject,
                issued_at: Some(issued_at),
                expires_at: keep_until,
                key_id: None,
                claims: None,
            };
            index.check(&facts)
        };
        assert_eq!(issued(issued_at), None, "round {round}");
        assert_eq!(issued(issued_at.minus(Duration::from_secs(60))), Some(RevokedBy::Subject));
    }
}

/// The call takes the seconds that the other issuer's clock may be ahead, which is more than the request timeout here.
#[tokio::test]
async fn a_cut_off_is_waited_for_beyond_the_time_of_a_request_unless_the_caller_waits_itself() {
    let app = TestApp::with(&[("request_timeout", "1s")]).await;
    let client = app.client("shop", &[Capability::Revoke]).await;
    let cut_off =
        |subject: &str| app.post("/revocations").by(&client).json(json!({ "subject": subject, "issuer": OTHER }));
    let mut waits = std::pin::pin!(cut_off("jose").send());
    tokio::select! {
        _ = &mut waits => panic!("it does not wait"),
        answer = cut_off("ana").header("prefer", "adieu-cursor, wait=0").send() => answer.is(200),
    };
    waits.await.is(200);
}

#[tokio::test]
async fn many_at_once() {
    let service = Service::start().await;
    let app = &service.app;
    let (jose, ana, other) = (app.log_in("jose").await, app.log_in("ana").await, app.log_in("ana").await);
    let mut list = vec![
        json!({"session": app.claims(&jose).session}),
        json!({"token": ana.refresh}),
        json!({"session": "not there"}),
        json!({"session": app.claims(&other).session}),
    ];
    list.extend((list.len()..500).map(|number| json!({"token_id": format!("id {number}")})));
    let revoked = service.revoke(json!({"revocations": list})).await;
    assert_snapshot!(revoked, @r#"200 {"message":"Revoked.","sessions_ended":3}"#);
    for tokens in [&jose, &ana, &other] {
        app.verify(&tokens.access).await.is_revoked();
    }
    assert_eq!(service.log().await.len(), 500);
}

/// An application whose tokens have no issuer has its own sessions, and the row of a session that began here may be lost.
#[tokio::test]
async fn a_session_that_no_store_has_ends_for_all_who_follow() {
    let service = Service::with(&[("session_lifetime", "40d"), ("client_revocation_horizon", "90d")]).await;
    let app = &service.app;
    let now = app.node.clock.now();
    let long = now.plus(Duration::from_secs(80 * 24 * 60 * 60));
    let (unheard_of, for_longer) = (json!({"session": "theirs"}), json!({"session": "long", "keep_until": long}));
    let ended = r#"200 {"message":"Revoked.","sessions_ended":0}"#;
    for body in [&unheard_of, &unheard_of, &for_longer, &for_longer] {
        service.revoke(body.clone()).await.reads(ended);
    }
    let log = service.log().await;
    let sessions: Vec<_> = log.iter().map(|entry| serde_json::to_value(&entry.target).unwrap()["id"].clone()).collect();
    assert_eq!(sessions, ["theirs", "long"], "once is enough");
    // As long as a session may last.
    let tokens = app.log_in("jose").await;
    assert!(log[0].lapses_at >= Revocation::lapse_for(now.plus(app.node.sessions.longest_session())));
    assert!(log[0].lapses_at < long && log[1].lapses_at > long);

    let session = app.claims(&tokens).session;
    service
        .revoke(json!({"session": session, "keep_until": long}))
        .await
        .reads(r#"200 {"message":"Revoked.","sessions_ended":1}"#);
    let log = service.log().await;
    assert!(log[2].lapses_at < long && log.len() == 3, "of a session that was begun here the store knows how long");
}

#[tokio::test]
async fn of_many_all_or_none() {
    let service = Service::start().await;
    let app = &service.app;
    let tokens = app.log_in("jose").await;
    let with = |second: &str| json!({"revocations": [{"session": app.claims(&tokens).session}, {"token": tokens.access}, {"token_id": second}]});
    app.execute(
        "CREATE TRIGGER disk_full BEFORE INSERT ON revocation WHEN NEW.id = 'last' BEGIN SELECT RAISE(ABORT, 'full'); END",
    );
    service.revoke(with("last")).await.is(503);
    assert_eq!(service.log().await, []);
    app.verify(&tokens.access).await.is(204);
    app.post("/refresh").token(&tokens.refresh).send().await.is(200);
    service.revoke(with("other")).await.is(200);
    app.verify(&tokens.access).await.is_revoked();
}

#[tokio::test]
async fn what_is_wrong_with_each_of_many_is_said_and_nothing_is_done() {
    let service = Service::start().await;
    let app = &service.app;
    let tokens = app.log_in("jose").await;
    let good = json!({"token": tokens.access});
    let mut answers = String::new();
    for body in [
        json!({"revocations": [good, {}, {"token": "x"}, 7, {"token_id": "", "x": 1}]}),
        json!({"revocations": []}),
        json!({"revocations": good}),
        json!({"revocations": [good], "token": tokens.access}),
        json!({"revocations": [{"revocations": [good]}]}),
        json!({"token_id": "x", "expires_at": 1, "keep_until": 1}),
        json!({"subject": "x", "keep_until": 1}),
        json!({"token_id": "x", "keep_until": 99_999_999_999_u64}),
        json!({"token": tokens.access, "issuer": OTHER}),
        json!({"token_id": "x", "issuer": ""}),
    ] {
        let answer = service.revoke(body).await;
        answers += &format!("{} {}\n", answer.status, answer.json()["errors"]["json"]);
    }
    assert_snapshot!(answers, @r#"
    422 {"revocations.1._schema":["Give exactly one of token, token_id, session, subject, claim, key and everything."],"revocations.2.token":["Not a token of this server."],"revocations.3._schema":["Invalid input type."],"revocations.4.token_id":["an id must not be empty"],"revocations.4.x":["Unknown field."]}
    422 {"revocations":["Length must be between 1 and 500."]}
    422 {"revocations":["Not a valid list."]}
    422 {"token":["Unknown field."]}
    422 {"revocations.0.revocations":["Unknown field."]}
    422 {"keep_until":["Goes with token_id without expires_at, with session, and with another issuer."]}
    422 {"keep_until":["Goes with token_id without expires_at, with session, and with another issuer."]}
    422 {"keep_until":["Later than the client's client_revocation_horizon from now."]}
    422 {"issuer":["A token says itself who issued it."]}
    422 {"issuer":["an id must not be empty"]}
    "#);
    let long = service.revoke(json!({"revocations": vec![json!({"token_id": "x"}); 501]})).await;
    assert_snapshot!(long, @r#"422 {"code":422,"errors":{"json":{"revocations":["Length must be between 1 and 500."]}},"status":"Unprocessable Entity"}"#);
    app.verify(&tokens.access).await.is(204);
}

/// Two parsers could choose different values.
#[tokio::test]
async fn a_field_that_is_there_twice_is_refused_at_any_depth() {
    let service = Service::start().await;
    let text = r#"{"revocations":[{"token_id":"a","token_id":"b"}]}"#;
    let answer = service.app.post("/revocations").by(&service.client).text(text).send().await;
    assert_snapshot!(answer, @r#"400 {"code":400,"errors":{"json":["Invalid JSON body."]},"message":"duplicate field at line 1 column 47","status":"Bad Request"}"#);
}

#[tokio::test]
async fn what_another_issuer_has_given() {
    let service = Service::start().await;
    let app = &service.app;
    let tokens = app.log_in("jose").await;
    let claims = app.claims(&tokens);
    let (token, session) = (claims.token_id.to_string(), claims.session.clone().unwrap().to_string());
    let subject = claims.subject.to_string();
    assert_eq!(service.of_other(&token, &session, &subject), None);
    for (body, by) in [
        (json!({"subject": subject, "issuer": OTHER}), RevokedBy::Subject),
        (json!({"session": session, "issuer": OTHER}), RevokedBy::Session),
        (json!({"token_id": token, "issuer": OTHER}), RevokedBy::Token),
    ] {
        service.revoke(body).await.reads(r#"200 {"message":"Revoked.","sessions_ended":0}"#);
        assert_eq!(service.of_other(&token, &session, &subject), Some(by));
    }
    app.verify(&tokens.access).await.is(204);

    let admin = service.app.with_admin("boss").await;
    let boss = admin.log_in("boss").await;
    let everything = json!({"everything": true, "issuer": OTHER});
    let answer = admin.post("/revocations").token(&boss.access).json(everything).send().await;
    assert_snapshot!(answer, @r#"200 {"message":"Revoked.","sessions_ended":0,"own_token_revoked":false}"#);
}

#[tokio::test]
async fn how_long_a_revocation_is_kept() {
    let service = Service::start().await;
    let now = service.app.node.clock.now();
    let soon = now.plus(Duration::from_secs(3_600));
    for body in [
        json!({"token_id": "a", "expires_at": soon}),
        json!({"token_id": "b", "keep_until": soon}),
        json!({"token_id": "c"}),
        json!({"token_id": "d", "issuer": OTHER, "keep_until": soon}),
        json!({"subject": "e", "issuer": OTHER, "keep_until": soon}),
        json!({"session": "f", "issuer": OTHER}),
    ] {
        service.revoke(body).await.is(200);
    }
    let lasts = |one: &Revocation| one.lapses_at > Revocation::lapse_for(now.plus(Duration::from_secs(29 * 86_400)));
    let log = service.log().await;
    let lapses: Vec<_> = log.iter().map(|one| (lasts(one), one.lapses_at == Revocation::lapse_for(soon))).collect();
    let (short, long) = ((false, true), (true, false));
    assert_eq!(lapses, [short, short, long, short, short, long]);
    let target = Target::Token { id: TokenId::new("b").unwrap(), expires_at: None };
    assert_eq!(log[1].target, target, "its exp is not known");
    assert_eq!(log[3].issuer, Issuer::new(OTHER).unwrap());
    assert!(log.iter().all(|one| one.lapses_at > Timestamp::default()));
}
