//! A password change that races a login leaves no session of the old password.

use serde_json::json;

use crate::support::{PASSWORD, TestApp, credentials};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_the_old_password_does_not_survive_its_change() {
    let app = TestApp::with(&[("hashing_threads", "2")]).await.with_user("jose").await;
    let mut current = PASSWORD.to_owned();
    for round in 0..15 {
        let here = app.post("/login").json(credentials("jose", &current)).send().await.tokens();
        let next = format!("password {round}");
        let change = json!({"password": current, "new_password": next});
        let change = app.post("/password").token(&here.access).json(change).send();
        let log_in = || app.post("/login").json(credentials("jose", &current)).send();
        let (change, one, other) = tokio::join!(change, log_in(), log_in());
        change.is(200);
        for login in [one, other] {
            if login.status == 200 {
                let tokens = login.tokens();
                app.verify(&tokens.access).await.is_revoked();
                app.post("/refresh").token(&tokens.refresh).send().await.is_revoked();
            } else {
                login.is(401);
            }
        }
        app.verify(&here.access).await.is(204);
        current = next;
    }
}
