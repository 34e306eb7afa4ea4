//! A password change that races logins leaves no session of the old password; of two changes with the same old password, one succeeds.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{PASSWORD, TestApp, Tokens, credentials};

/// Logins wait for the single hashing thread while the password changes: the password that they have verified is the old one.
#[tokio::test]
async fn a_login_with_the_old_password_does_not_survive_its_change() {
    let settings = [("hashing_threads", "1"), ("login_attempts_per_account", "10000 per 1m")];
    let app = TestApp::with(&settings).await.with_user("jose").await;
    let mut current = PASSWORD.to_owned();
    for round in 0..5 {
        let here = app.post("/login").json(credentials("jose", &current)).send().await.tokens();
        let next = format!("password {round}");
        let changed = AtomicBool::new(false);
        let log_in_all_the_while = || async {
            let mut tokens = Vec::new();
            while !changed.load(Ordering::SeqCst) {
                let answer = app.post("/login").json(credentials("jose", &current)).send().await;
                if answer.status == 200 {
                    tokens.push(answer.tokens());
                } else {
                    answer.is(401);
                }
            }
            tokens
        };
        let change = async {
            let change = json!({"password": current, "new_password": next});
            app.post("/password").token(&here.access).json(change).send().await.is(200);
            changed.store(true, Ordering::SeqCst);
        };
        let (one, other, third, ()) =
            tokio::join!(log_in_all_the_while(), log_in_all_the_while(), log_in_all_the_while(), change);
        let old: Vec<Tokens> = [one, other, third].concat();
        assert!(!old.is_empty(), "logins and the change overlapped");
        for tokens in old {
            app.verify(&tokens.access).await.is_revoked();
            app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
        }
        app.verify(&here.access).await.is(204);
        current = next;
    }
}

/// Two sessions know the old password; one of them is rejected, because the password has changed.
#[tokio::test]
async fn of_two_changes_with_the_same_old_password_one_wins() {
    let app = TestApp::with(&[("hashing_threads", "1")]).await.with_user("jose").await;
    let (here, there) = (app.log_in("jose").await, app.log_in("jose").await);
    let change = async |tokens: &Tokens, chosen: &str| {
        let change = json!({"password": PASSWORD, "new_password": chosen});
        app.post("/password").token(&tokens.access).json(change).send().await
    };
    let (one, other) = tokio::join!(change(&here, "from here"), change(&there, "from there"));
    let (won, lost, winner, chosen) = match one.status {
        200 => (one, other, here, "from here"),
        _ => (other, one, there, "from there"),
    };
    won.is(200);
    assert!(matches!(lost.status, 401 | 422), "its session has ended, or what it says is not the password: {lost}");
    app.verify(&winner.access).await.is(204);
    for (password, status) in [(PASSWORD, 401), (chosen, 200)] {
        app.post("/login").json(credentials("jose", password)).send().await.is(status);
    }
}
