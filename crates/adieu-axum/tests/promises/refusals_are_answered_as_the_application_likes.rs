//! Rejections use the course's wording, that of RFC 6750, or the application's own, each with its own status.

use std::time::Duration;

use adieu::session::Scope;
use adieu_axum::{
    AccessToken, Auth, AuthRejection, FlaskJwtExtendedResponses, FreshAccessToken, Guard, Location, RejectionKind,
    RejectionReason, RejectionResponses, Rfc6750Responses, Tokens,
};
use axum::{
    Router,
    http::StatusCode,
    response::IntoResponse as _,
    routing::{any, get},
};

use crate::support::{App, send, send_with};

fn router(app: &App, guard: Guard) -> Router {
    Router::new()
        .route("/", any(async |token: AccessToken| token.subject().to_string()))
        .route("/fresh", get(async |token: FreshAccessToken| token.subject().to_string()))
        .route("/login", get(async |auth: Auth| -> Result<Tokens, AuthRejection> { Err(auth.invalid_credentials()) }))
        .route("/layer", get(async || "in").layer(guard.protect()))
        .with_state(app.state(guard))
}

/// Returns the response to each kind of rejection that a bearer token can have.
async fn answers(guard: impl FnOnce(Guard) -> Guard) -> Vec<String> {
    let app = App::new();
    let router = router(&app, guard(app.guard()));
    let pair = app.log_in().await;
    let token = app.sessions.inspect(&pair.refresh).unwrap();
    let refreshed = app.sessions.refresh(&token).await.unwrap();
    let gone = app.log_in().await;
    app.sessions.log_out(&gone.access, Scope::This).await.unwrap();

    let mut all = vec![
        send(&router, "GET /", &[], "").await,
        send(&router, "GET /layer", &[], "").await,
        send_with(&router, "GET /", "nonsense").await,
        send_with(&router, "GET /fresh", &refreshed.access).await,
        send_with(&router, "GET /", &gone.access).await,
        send(&router, "GET /", &[("authorization", "Bearer a"), ("authorization", "Bearer a")], "").await,
        send(&router, "GET /login", &[], "").await,
    ];
    app.pass(Duration::from_secs(900));
    all.push(send_with(&router, "GET /", &pair.access).await);
    app.clock.advance(Duration::from_secs(3));
    let live = app.log_in().await;
    all.push(send_with(&router, "GET /", &live.access).await);
    all.iter().map(|answer| format!("{} | {}", answer.text(), answer.header("www-authenticate"))).collect()
}

#[tokio::test]
async fn in_the_words_of_the_standard() {
    assert_eq!(
        answers(|guard| guard.with_rejection_responses(Rfc6750Responses)).await,
        [
            r#"401 {} | Bearer"#,
            r#"401 {} | Bearer"#,
            r#"401 {"error":"invalid_token","error_description":"Signature verification failed."} | Bearer error="invalid_token", error_description="Signature verification failed.""#,
            r#"401 {"error":"insufficient_user_authentication","error_description":"The token is not fresh."} | Bearer error="insufficient_user_authentication", error_description="The token is not fresh.""#,
            r#"401 {"error":"invalid_token","error_description":"The token has been revoked."} | Bearer error="invalid_token", error_description="The token has been revoked.""#,
            r#"400 {"error":"invalid_request","error_description":"Send one Authorization header only."} | Bearer error="invalid_request", error_description="Send one Authorization header only.""#,
            r#"401 {"error":"invalid_grant","error_description":"Invalid credentials."} | Bearer"#,
            r#"401 {"error":"invalid_token","error_description":"The token has expired."} | Bearer error="invalid_token", error_description="The token has expired.""#,
            r#"503 {"error":"temporarily_unavailable","error_description":"Whether the token has been revoked is not known just now. Try again."} | "#,
        ]
    );
}

#[tokio::test]
async fn in_words_of_ones_own_and_the_rest_in_the_usual_ones() {
    let own = |reason: &RejectionReason| match reason.kind() {
        RejectionKind::Missing => (StatusCode::FORBIDDEN, "who are you?").into_response(),
        RejectionKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "what is this?").into_response(),
        RejectionKind::Expired => (StatusCode::IM_A_TEAPOT, "too late").into_response(),
        RejectionKind::NotFresh => (StatusCode::FORBIDDEN, "password, please").into_response(),
        RejectionKind::WrongCredentials => (StatusCode::UNAUTHORIZED, "no").into_response(),
        _ => FlaskJwtExtendedResponses.answer(reason),
    };
    let answers = answers(|guard| guard.with_rejection_responses(own)).await;
    assert_eq!(
        answers,
        [
            "403 who are you? | ",
            "403 who are you? | ",
            "422 what is this? | ",
            "403 password, please | ",
            r#"401 {"description":"The token has been revoked.","error":"token_revoked"} | Bearer error="invalid_token", error_description="The token has been revoked.""#,
            r#"400 {"code":400,"message":"Send one Authorization header only.","status":"Bad Request"} | Bearer error="invalid_request", error_description="Send one Authorization header only.""#,
            "401 no | ",
            "418 too late | ",
            r#"503 {"code":503,"message":"Whether the token has been revoked is not known just now. Try again.","status":"Service Unavailable"} | "#,
        ]
    );
}

#[tokio::test]
async fn every_body_is_json_and_tells_nothing_of_the_cause() {
    let reasons = [
        RejectionReason::Ambiguous(adieu_axum::Place::Query),
        RejectionReason::Csrf("the cause"),
        RejectionReason::ClaimsRejected("the cause".into()),
        RejectionReason::UnknownUser,
        RejectionReason::WrongCredentials,
        RejectionReason::InvalidId(adieu::IdError::Empty),
        RejectionReason::Failed(adieu::Error::unavailable("the cause")),
        RejectionReason::Failed(adieu::Error::Claims("the cause".into())),
        RejectionReason::Token(adieu::token::TokenError::Malformed("the cause")),
    ];
    for reason in reasons {
        for answers in [&FlaskJwtExtendedResponses as &dyn RejectionResponses, &Rfc6750Responses] {
            let response = answers.answer(&reason);
            assert!(response.status().is_client_error() || response.status().is_server_error());
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(body.is_object() && !body.to_string().contains("the cause"), "{body}");
        }
    }
}

#[tokio::test]
async fn a_name_that_can_not_be_an_id_is_the_clients_mistake() {
    for name in [String::new(), "x".repeat(513)] {
        let refused = AuthRejection::from(adieu::Subject::new(name).unwrap_err());
        assert_eq!((refused.kind(), refused.status()), (RejectionKind::InvalidId, StatusCode::BAD_REQUEST));
    }
}

#[tokio::test]
async fn a_place_that_is_not_looked_into_is_no_token() {
    let app = App::new();
    let router = router(&app, app.guard().with_locations([Location::query("jwt")]));
    let token = app.log_in().await.access;
    assert!(send_with(&router, "GET /", &token).await.body.contains("authorization_required"));
}
