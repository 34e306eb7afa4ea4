//! An active user gets a new access token in time; a logged-out user gets none, whichever request arrives first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adieu::{
    revocation::RevokedClaim,
    session::{RevocationRequest, RevocationTarget, Scope},
    time::Clock as _,
};
use adieu_axum::{AccessToken, Auth, Cookies, Guard, PresentedToken};
use axum::{
    Router,
    routing::{get, post},
};
use tokio::sync::Barrier;

use crate::support::{Answer, App, log_in, log_out, send};

const MINUTE: Duration = Duration::from_secs(60);
const ACCESS: &str = "__Host-access_token";
const CSRF: &str = "__Host-csrf_access_token";

fn guard(app: &App) -> Guard {
    app.guard().with_cookies(Cookies::new()).unwrap()
}

/// Headers that caches obey in place of `Cache-Control`.
const OVERRIDES: [&str; 5] =
    ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "edge-control", "x-accel-expires"];

fn router(app: &App, guard: Guard) -> Router {
    let renewing = guard.renew_cookies(&app.sessions, 5 * MINUTE);
    Router::new()
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/me", get(async |token: AccessToken| format!("{:?}", token.fresh)))
        .route(
            "/cacheable",
            get(async |_: AccessToken| {
                let headers = OVERRIDES.map(|name| (name, "max-age=3600"));
                ([("cache-control", "public, max-age=3600")], headers)
            }),
        )
        .route(
            "/quietly",
            // Logs out without removing the cookies.
            post(async |auth: Auth, token: PresentedToken| {
                auth.log_out(&token, Scope::This).await.map(|done| done.sessions_ended.to_string())
            }),
        )
        .layer(renewing)
        .with_state(app.state(guard))
}

async fn with_cookie_of(router: &Router, line: &str, login: &Answer) -> Answer {
    let cookie = format!("{ACCESS}={}", login.cookie(ACCESS).unwrap());
    send(router, line, &[("cookie", &cookie), ("x-csrf-token", &login.cookie(CSRF).unwrap())], "").await
}

#[tokio::test]
async fn a_cookie_that_is_about_to_expire_is_renewed() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let login = send(&router, "POST /login", &[], "").await;
    app.pass(9 * MINUTE);
    assert!(with_cookie_of(&router, "GET /me", &login).await.set_cookies().is_empty(), "not yet");

    app.pass(2 * MINUTE);
    let renewed = with_cookie_of(&router, "GET /me", &login).await;
    assert_eq!(renewed.text(), "200 Yes");
    assert_eq!(renewed.set_cookies().len(), 2);
    // The form in this page, and those in other tabs, have the previous value.
    assert_eq!(renewed.cookie(CSRF), login.cookie(CSRF));

    app.pass(10 * MINUTE);
    assert_eq!(with_cookie_of(&router, "GET /me", &login).await.status, 401, "the old one has expired");
    assert_eq!(with_cookie_of(&router, "GET /me", &renewed).await.text(), "200 No");
}

#[tokio::test]
async fn a_response_with_a_cookie_is_kept_by_no_cache() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let login = send(&router, "POST /login", &[], "").await;
    let as_it_was = with_cookie_of(&router, "GET /cacheable", &login).await;
    assert_eq!(as_it_was.header("cache-control"), "public, max-age=3600");
    app.pass(11 * MINUTE);
    let renewed = with_cookie_of(&router, "GET /cacheable", &login).await;
    assert_eq!(renewed.set_cookies().len(), 2);
    assert_eq!(renewed.header("cache-control"), "no-store");
    for name in OVERRIDES {
        assert_eq!((as_it_was.header(name), renewed.header(name)), ("max-age=3600", ""), "{name}");
    }
    let out = with_cookie_of(&router, "POST /logout", &login).await;
    assert_eq!((out.set_cookies().len(), out.header("cache-control")), (4, "no-store"));
}

#[tokio::test]
async fn the_session_lasts_no_longer_for_it_and_its_refresh_token_stays() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let mut last = send(&router, "POST /login", &[], "").await;
    let refresh = last.cookie("__Host-refresh_token").unwrap();
    let before = app.sessions.store().sessions(None, 10).await.unwrap();
    app.pass(11 * MINUTE);
    last = with_cookie_of(&router, "GET /me", &last).await;
    let after = app.sessions.store().sessions(None, 10).await.unwrap();
    assert_eq!(before[0].refresh_id, after[0].refresh_id);
    assert_eq!(before[0].refresh_expires_at, after[0].refresh_expires_at);
    assert!(after[0].access_expires_at >= app.clock.now().plus(15 * MINUTE));
    assert!(app.sessions.verify_refresh(&refresh).await.is_ok());

    // An idle session ends, whichever side renews: refresh tokens live for 30 days.
    for _ in 0..(30 * 24 * 6) {
        app.pass(10 * MINUTE);
        let next = with_cookie_of(&router, "GET /me", &last).await;
        if next.set_cookies().is_empty() {
            break;
        }
        last = next;
    }
    app.pass(16 * MINUTE);
    assert_eq!(with_cookie_of(&router, "GET /me", &last).await.status, 401);
}

#[tokio::test]
async fn a_logout_in_the_same_request_wins() {
    let app = App::new();
    let router = router(&app, guard(&app));
    for line in ["POST /logout", "POST /quietly"] {
        let login = send(&router, "POST /login", &[], "").await;
        app.pass(11 * MINUTE);
        let out = with_cookie_of(&router, line, &login).await;
        assert_eq!(out.status, 200);
        assert!(out.cookie(ACCESS).unwrap_or_default().is_empty(), "{:?}", out.set_cookies());
        assert!(with_cookie_of(&router, "GET /me", &login).await.body.contains("token_revoked"));
    }
}

/// Before and after a logout, on every schedule that two threads produce: whichever cookie a response set, it is useless
/// afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_that_races_wins() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let (mut renewed, mut too_late) = (0, 0);
    for round in 0..30_000_u32 {
        // On a busy machine, one of the two may come first for a long time.
        if round >= 300 && renewed > 0 && too_late > 0 {
            break;
        }
        let login = Arc::new(send(&router, "POST /login", &[], "").await);
        app.pass(11 * MINUTE);
        let barrier = Arc::new(Barrier::new(2));
        let asking = tokio::spawn({
            let (router, login, barrier) = (router.clone(), Arc::clone(&login), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                for _ in 0..round % 7 {
                    tokio::task::yield_now().await;
                }
                with_cookie_of(&router, "GET /me", &login).await
            }
        });
        barrier.wait().await;
        for _ in 0..round % 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(with_cookie_of(&router, "POST /logout", &login).await.status, 200);
        let answer = asking.await.unwrap();
        if answer.cookie(ACCESS).is_some() {
            renewed += 1;
            let after = with_cookie_of(&router, "GET /me", &answer).await;
            assert!(after.body.contains("token_revoked"), "{}", after.text());
            assert!(after.set_cookies().is_empty());
        } else {
            too_late += 1;
        }
    }
    assert!(renewed > 0 && too_late > 0, "{renewed} {too_late}");
}

#[tokio::test]
async fn a_logout_elsewhere_that_this_node_has_not_heard_of_wins() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let login = send(&router, "POST /login", &[], "").await;
    app.pass(11 * MINUTE);
    // The row is deleted without an entry in this node's index, as when another process ends the session.
    let session = app.sessions.store().sessions(None, 1).await.unwrap().remove(0);
    let ending = adieu::session::EndSessions {
        issuer: app.sessions.issuer().clone(),
        selection: adieu::session::Selection::Owned(session.id, session.subject),
        only_if: None,
        extra_revocations: vec![],
    };
    app.sessions.store().end(ending).await.unwrap();
    let answer = with_cookie_of(&router, "GET /me", &login).await;
    assert!(answer.set_cookies().is_empty());
    assert!(with_cookie_of(&router, "GET /me", &login).await.body.contains("token_revoked"));
}

#[tokio::test]
async fn what_the_application_says_of_its_users_is_said_anew() {
    let app = App::new();
    let guard = guard(&app).with_custom_claims(async |subject| {
        Ok(serde_json::Map::from_iter([("who".to_owned(), subject.as_str().into())]))
    });
    let router = router(&app, guard);
    let login = send(&router, "POST /login", &[], "").await;
    app.pass(11 * MINUTE);
    let renewed = with_cookie_of(&router, "GET /me", &login).await;
    let claims = app.verifier().verify(&renewed.cookie(ACCESS).unwrap()).unwrap();
    assert_eq!(claims.custom["who"], "jose");
}

#[tokio::test]
async fn of_several_cookies_the_one_that_was_used_is_renewed() {
    let app = App::new();
    let router = router(&app, guard(&app));
    let used = send(&router, "POST /login", &[], "").await;
    app.pass(MINUTE);
    let ended = app.log_in().await.access;
    app.sessions.log_out(&ended, Scope::This).await.unwrap();
    app.pass(11 * MINUTE);
    let cookies = format!("{ACCESS}={ended}; {ACCESS}={}; {ACCESS}=garbage", used.cookie(ACCESS).unwrap());
    let answer = send(&router, "GET /me", &[("cookie", &cookies)], "").await;
    assert_eq!(answer.status, 200);
    let renewed = app.verifier().verify(&answer.cookie(ACCESS).unwrap()).unwrap();
    assert_eq!(renewed.session, app.verifier().verify(&used.cookie(ACCESS).unwrap()).unwrap().session);
}

#[tokio::test]
async fn a_token_that_would_be_revoked_already_is_not_set() {
    let app = App::new();
    let moved = Arc::new(AtomicBool::new(false));
    let tenant = Arc::clone(&moved);
    let guard = guard(&app).with_custom_claims(move |_| {
        let tenant = if tenant.load(Ordering::Relaxed) { "acme" } else { "other" };
        async move { Ok(serde_json::Map::from_iter([("tenant".to_owned(), tenant.into())])) }
    });
    let router = router(&app, guard);
    let login = send(&router, "POST /login", &[], "").await;
    app.pass(11 * MINUTE);
    moved.store(true, Ordering::Relaxed);
    let acme = RevocationTarget::Claim(RevokedClaim::new("tenant", "acme").unwrap());
    app.sessions.revoke(vec![RevocationRequest::new(acme)]).await.unwrap();
    let answer = with_cookie_of(&router, "GET /me", &login).await;
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
}
