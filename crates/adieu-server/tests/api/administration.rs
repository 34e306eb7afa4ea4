//! Calls that only administrators may make.

use adieu_server::clients::Capability;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{PASSWORD, TestApp, Tokens, credentials};

async fn start() -> (TestApp, Tokens, Tokens) {
    let app = TestApp::start().await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    (app, jose, boss)
}

#[tokio::test]
async fn nobody_else_may() {
    let (app, jose, _) = start().await;
    let for_others =
        ["/register", "/login", "/verify", "/introspect", "/global-token-revocation", "/password/reset-token"];
    let only_for_admins = crate::support::operations()
        .into_iter()
        .filter(|((_, path), statuses)| statuses.contains(&403) && !for_others.contains(&path.as_str()))
        .filter(|((method, path), _)| (method.as_str(), path.as_str()) != ("GET", "/revocations"));
    let mut count = 0;
    for ((method, path), _) in only_for_admins {
        let path = path.replace("{id}", &app.user_id(&jose));
        let answer = app.call(method.parse().unwrap(), &path).token(&jose.access).send().await;
        answer.reads(r#"403 {"code":403,"message":"Admin privilege required.","status":"Forbidden"}"#);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer error="insufficient_scope", error_description="Admin privilege required.""#)
        );
        count += 1;
    }
    assert_eq!(count, 21);
}

#[tokio::test]
async fn an_administrators_token_says_so_also_after_a_refresh() {
    let (app, _, boss) = start().await;
    let refreshed = app.post("/refresh").token(&boss.refresh).send().await.tokens();
    for tokens in [boss, refreshed] {
        assert_eq!(app.claims(&tokens).custom["is_admin"], json!(true));
    }
}

#[tokio::test]
async fn users_are_listed_in_parts() {
    let (app, jose, boss) = start().await;
    let created_at = app.node.accounts.store().by_id(&app.claims(&jose).subject).await.unwrap().unwrap().created_at;
    let first = app.get("/users?limit=1").token(&boss.access).send().await.json();
    assert_eq!(
        first,
        json!({
            "users": [{
                "id": app.user_id(&jose),
                "username": "jose",
                "is_admin": false,
                "is_disabled": false,
                "created_at": created_at.as_unix(),
                "last_login_at": null,
                "must_change_password": false,
            }],
            "next": app.user_id(&jose),
        })
    );
    let path = format!("/users?limit=1&after={}", app.user_id(&jose));
    let second = app.get(&path).token(&boss.access).send().await.json();
    assert_eq!((&second["users"][0]["username"], &second["next"]), (&json!("boss"), &json!(null)));
}

/// The answer does not depend on why an invitation is not valid, nor on whether the name is taken.
#[tokio::test]
async fn with_an_invitation_one_user_registers() {
    const REFUSED: &str =
        r#"403 {"code":403,"message":"Registration needs an invitation that is valid.","status":"Forbidden"}"#;
    let app = TestApp::with(&[("registration", "invite")]).await.with_admin("boss").await;
    let boss = app.log_in("boss").await;
    let invite = async || {
        let answer = app.post("/invites").token(&boss.access).json(json!({"expires_in": 3600.0})).send().await;
        answer.is(200);
        let invite = answer.json();
        assert_eq!(invite["expires_at"].as_u64().unwrap() - invite["created_at"].as_u64().unwrap(), 3600);
        invite
    };
    let register = async |name: &str, code: Option<&str>| {
        let mut body = credentials(name, PASSWORD);
        if let Some(code) = code {
            body["invite"] = code.into();
        }
        app.post("/register").json(body).send().await
    };
    let (one, two) = (invite().await, invite().await);
    let code = |invite: &serde_json::Value| invite["invite_code"].as_str().unwrap().to_owned();
    assert_eq!(code(&one).len(), 43, "256 bits");
    for (name, wrong) in [("jose", None), ("jose", Some("")), ("jose", Some("wrong")), ("boss", Some("wrong"))] {
        register(name, wrong).await.reads(REFUSED);
    }
    register("boss", Some(&code(&one))).await.is(409);
    let once = code(&one);
    let (jose, ana) = tokio::join!(register("jose", Some(&once)), register("ana", Some(&once)));
    let mut statuses = [jose.status, ana.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403], "of two at once, one");
    register("eva", Some(&code(&one))).await.reads(REFUSED);

    let listed = app.get("/invites").token(&boss.access).send().await;
    assert_eq!(listed.json()["invites"].as_array().unwrap().len(), 1);
    assert!(listed.json()["invites"][0]["id"] == two["id"] && !listed.to_string().contains(&code(&two)), "{listed}");
    let path = format!("/invites/{}", two["id"].as_str().unwrap());
    app.delete(&path).token(&boss.access).send().await.reads(r#"200 {"message":"Invitation revoked."}"#);
    app.delete(&path).token(&boss.access).send().await.is(404);
    register("eva", Some(&code(&two))).await.reads(REFUSED);
    for wrong in [
        json!({"expires_in": 0}),
        json!({"expires_in": 7_776_001}),
        json!({"expires_in": "1h"}),
        json!({"expires_in": 60.5}),
    ] {
        app.post("/invites").token(&boss.access).json(wrong).send().await.is(422);
    }
}

/// Also those with a wrong code count.
#[tokio::test]
async fn codes_are_guessed_as_slowly_as_passwords() {
    let app = TestApp::with(&[("registration", "invite"), ("login_attempts_per_address", "3 per 1h")]).await;
    for status in [403, 403, 403, 429] {
        let body = json!({"username": "jose", "password": PASSWORD, "invite": "guessed"});
        app.post("/register").json(body).send().await.is(status);
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_until_it_is_enabled() {
    let (app, jose, boss) = start().await;
    let path = format!("/users/{}", app.user_id(&jose));
    let disable = app.post(&format!("{path}/disable")).token(&boss.access).send().await;
    assert_snapshot!(disable, @r#"200 {"message":"User disabled."}"#);
    app.verify(&jose.access).await.is_revoked();
    app.post("/refresh").token(&jose.refresh).send().await.is_revoked();
    assert_snapshot!(
        app.post("/login").json(credentials("jose", PASSWORD)).send().await,
        @r#"401 {"code":401,"message":"Invalid credentials.","status":"Unauthorized"}"#
    );
    let enable = app.post(&format!("{path}/enable")).token(&boss.access).send().await;
    assert_snapshot!(enable, @r#"200 {"message":"User enabled."}"#);
    app.verify(&jose.access).await.is_revoked();
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(200);
}

#[tokio::test]
async fn administrators_do_not_lock_themselves_out() {
    let (app, _, boss) = start().await;
    let path = format!("/users/{}/disable", app.user_id(&boss));
    assert_snapshot!(
        app.post(&path).token(&boss.access).send().await,
        @r#"409 {"code":409,"message":"You can't disable yourself.","status":"Conflict"}"#
    );
    let path = format!("/user/{}", app.user_id(&boss));
    assert_snapshot!(
        app.delete(&path).token(&boss.access).send().await,
        @r#"409 {"code":409,"message":"You can't delete yourself.","status":"Conflict"}"#
    );
    app.verify(&boss.access).await.is(204);
    let app = app.with_admin("second").await;
    let second = app.log_in("second").await;
    app.delete(&path).token(&second.access).send().await.is(200);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (app, _, boss) = start().await;
    for (method, path) in [
        ("GET", "/user/unknown"),
        ("DELETE", "/user/unknown"),
        ("POST", "/users/unknown/disable"),
        ("POST", "/users/unknown/enable"),
        ("GET", "/users/unknown/sessions"),
        ("DELETE", "/users/unknown/sessions"),
        ("DELETE", "/sessions/none"),
        ("GET", "/user/%ff"),
    ] {
        let answer = app.call(method.parse().unwrap(), path).token(&boss.access).send().await;
        answer.reads(r#"404 {"code":404,"status":"Not Found"}"#);
    }
}

#[tokio::test]
async fn users_are_seen_and_deleted() {
    let (app, jose, boss) = start().await;
    let path = format!("/user/{}", app.user_id(&jose));
    assert_eq!(app.get(&path).token(&boss.access).send().await.json()["username"], "jose");
    app.delete(&path).token(&boss.access).send().await.is(200);
    app.verify(&jose.access).await.is_revoked();
    app.get(&path).token(&boss.access).send().await.is(404);
}

#[tokio::test]
async fn anyones_sessions_are_listed_and_ended() {
    let (app, jose, boss) = start().await;
    let second = app.log_in("jose").await;
    let user = app.user_id(&jose);
    let count = |list: serde_json::Value| list["sessions"].as_array().unwrap().len();
    let list = |path: String| app.get(&path).token(&boss.access).send();

    assert_eq!(count(list("/admin/sessions".into()).await.json()), 3);
    assert_eq!(count(list(format!("/admin/sessions?subject={user}")).await.json()), 2);
    assert_eq!(count(list(format!("/users/{user}/sessions")).await.json()), 2);

    let one = format!("/sessions/{}", app.claims(&second).session.unwrap());
    app.delete(&one).token(&boss.access).send().await.is(200);
    app.verify(&second.access).await.is_revoked();
    let rest = app.delete(&format!("/users/{user}/sessions")).token(&boss.access).send().await;
    assert_snapshot!(rest, @r#"200 {"message":"Sessions ended.","sessions_ended":1}"#);
    app.verify(&jose.access).await.is_revoked();
    app.verify(&boss.access).await.is(204);
}

#[tokio::test]
async fn users_are_found_by_name_and_by_what_they_are() {
    let (app, jose, boss) = start().await;
    let app = app.with_user("Josephine").await;
    app.post(&format!("/users/{}/disable", app.user_id(&jose))).token(&boss.access).send().await.is(200);
    app.node.accounts.flush_last_logins().await.unwrap();
    let now = app.node.clock.now().as_unix();
    let (soon, long_ago) = (now + 60, now - 60);
    let found = async |query: &str| {
        let answer = app.get(&format!("/users?{query}")).token(&boss.access).send().await;
        answer.is(200);
        let users = answer.json()["users"].as_array().unwrap().clone();
        users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (query, users) in [
        ("name=jose", "jose Josephine"),
        ("name=PHI", "Josephine"),
        ("name=%25", ""),
        ("name=jose&limit=1", "jose"),
        ("admin=true", "boss"),
        ("admin=false&disabled=false", "Josephine"),
        ("disabled=true&name=o", "jose"),
        (&format!("last_login_since={long_ago}"), "jose boss"),
        (&format!("last_login_since={soon}"), ""),
        (&format!("last_login_before={soon}&name=jo"), "jose Josephine"),
        (&format!("last_login_before={long_ago}"), ""),
    ] {
        assert_eq!(found(query).await, users, "{query}");
    }
    let mut answers = String::new();
    for query in [
        "name=",
        "name=%00",
        "admin=1",
        "disabled=",
        "last_login_before=-1",
        "last_login_since=253402300800",
        "x=1&limit=0",
    ] {
        let answer = app.get(&format!("/users?{query}")).token(&boss.access).send().await;
        answer.is(422);
        answers += &format!("{}\n", answer.json()["errors"]["query"]);
    }
    assert_snapshot!(answers, @r#"
    {"name":["Shorter than minimum length 1."]}
    {"name":["Control characters are not allowed."]}
    {"admin":["Not a valid boolean."]}
    {"disabled":["Not a valid boolean."]}
    {"last_login_before":["Not a valid integer."]}
    {"last_login_since":["Not a valid integer."]}
    {"limit":["Must be between 1 and 1000."],"x":["Unknown field."]}
    "#);
}

#[tokio::test]
async fn the_last_login_outlives_a_restart() {
    let (app, jose, _) = start().await;
    let before = app.node.clock.now();
    let app = app.start_again(&[]).await;
    let recorded = app.node.accounts.store().by_id(&app.claims(&jose).subject).await.unwrap().unwrap().last_login_at;
    assert!(recorded.is_some_and(|at| at <= before && before.since(at).as_secs() < 60), "{recorded:?}");
}

#[tokio::test]
async fn an_administrator_is_made_and_unmade() {
    let (app, jose, boss) = start().await;
    let change = |tokens: &Tokens, what: &str, by: &Tokens| {
        app.post(&format!("/users/{}/{what}", app.user_id(tokens))).token(&by.access).send()
    };
    assert_snapshot!(change(&jose, "promote", &boss).await, @r#"200 {"message":"User promoted."}"#);
    let jose = app.post("/refresh").token(&jose.refresh).send().await.tokens();
    assert_snapshot!(change(&boss, "demote", &jose).await, @r#"200 {"message":"User demoted."}"#);
    app.verify(&boss.access).await.is_revoked();
    change(&jose, "demote", &app.log_in("boss").await).await.is(403);

    // The last one stays, and so do its sessions.
    assert_snapshot!(change(&jose, "demote", &jose).await, @r#"409 {"code":409,"message":"This is the last administrator.","status":"Conflict"}"#);
    app.verify(&jose.access).await.is(204);
}

#[tokio::test]
async fn a_user_with_a_password_that_others_know_must_change_it() {
    let (app, jose, boss) = start().await;
    let user = app.user_id(&jose);
    let set =
        |body: serde_json::Value| app.post(&format!("/users/{user}/password")).token(&boss.access).json(body).send();
    assert_snapshot!(set(json!({"password": "temporary", "must_change": true})).await, @r#"200 {"message":"Password set."}"#);
    app.verify(&jose.access).await.is_revoked();
    let log_in = |password: &str| app.post("/login").json(credentials("jose", password)).send();
    log_in(PASSWORD).await.is(401);
    assert_snapshot!(log_in("temporary").await, @r#"403 {"code":403,"error":"password_change_required","message":"Change the password with POST /password/change, then log in.","status":"Forbidden"}"#);
    assert_eq!(app.node.sessions.store().sessions(None, 10).await.unwrap().len(), 1, "only that of the administrator");

    let change = |name: &str, password: &str, new: &str| {
        app.post("/password/change").json(json!({"username": name, "password": password, "new_password": new})).send()
    };
    let wrong = r#"401 {"code":401,"message":"Invalid credentials.","status":"Unauthorized"}"#;
    change("jose", "wrong", "mine").await.reads(wrong);
    change("nobody", "wrong", "mine").await.reads(wrong);
    assert_snapshot!(change("jose", "temporary", "temporary").await, @r#"422 {"code":422,"errors":{"json":{"new_password":["Must not be the current password."]}},"status":"Unprocessable Entity"}"#);
    assert_snapshot!(change("jose", "temporary", "mine").await, @r#"200 {"message":"Password changed."}"#);
    change("jose", "temporary", "other").await.reads(wrong);
    let jose = log_in("mine").await.tokens();

    // Sessions go on, and the password can also be changed with one of them, but not into the same.
    let required = app.post(&format!("/users/{user}/require-password-change")).token(&boss.access).send().await;
    assert_snapshot!(required, @r#"200 {"message":"Password change required."}"#);
    app.post("/refresh").token(&jose.refresh).send().await.is(200);
    log_in("mine").await.is(403);
    let own = |new: &str| {
        app.post("/password").token(&jose.access).json(json!({"password": "mine", "new_password": new})).send()
    };
    own("mine").await.is(422);
    own("mine too").await.is(200);
    log_in("mine too").await.is(200);

    // An administrator who knows the password already need not require a change.
    set(json!({"password": "known"})).await.is(200);
    log_in("known").await.is(200);
    assert_snapshot!(set(json!({"password": "", "must_change": "yes"})).await, @r#"422 {"code":422,"errors":{"json":{"must_change":["Not a valid boolean."],"password":["Shorter than minimum length 1."]}},"status":"Unprocessable Entity"}"#);
}

#[tokio::test]
async fn a_user_who_has_forgotten_the_password_resets_it_with_a_token() {
    let (app, jose, boss) = start().await;
    let issue = async |id: &str| {
        let issued = app.post(&format!("/users/{id}/reset-token")).token(&boss.access).send().await;
        issued.is(200);
        assert_eq!(issued.json()["expires_in"], 3600);
        issued.json()["reset_token"].as_str().unwrap().to_owned()
    };
    let reset = |token: &str, password: &str| {
        app.post("/password/reset").json(json!({"token": token, "new_password": password})).send()
    };
    let invalid = r#"422 {"code":422,"errors":{"json":{"token":["Not valid, or not any more."]}},"status":"Unprocessable Entity"}"#;

    let (user, boss_id) = (app.user_id(&jose), app.user_id(&boss));
    let old = issue(&user).await;
    let token = issue(&user).await;
    let stored = app.node.accounts.store().by_id(&app.claims(&jose).subject).await.unwrap().unwrap();
    assert!(!format!("{stored:?}").contains(token.split_once('.').unwrap().1), "the store has only its hash");
    let of_another =
        format!("{}.{}", issue(&boss_id).await.split_once('.').unwrap().0, token.split_once('.').unwrap().1);
    for wrong in
        [&old, &of_another, "", ".", "x", "eA.x", &format!("{token}x"), &token.replace('.', ""), &"é.".repeat(100)]
    {
        reset(wrong, "mine").await.reads(invalid);
    }
    app.verify(&jose.access).await.is(204);
    assert_snapshot!(reset(&token, "").await, @r#"422 {"code":422,"errors":{"json":{"new_password":["Shorter than minimum length 1."]}},"status":"Unprocessable Entity"}"#);
    assert_snapshot!(reset(&token, "mine").await, @r#"200 {"message":"Password changed."}"#);
    app.verify(&jose.access).await.is_revoked();
    reset(&token, "again").await.reads(invalid);
    app.post("/login").json(credentials("jose", "mine")).send().await.is(200);

    let void = issue(&user).await;
    app.post(&format!("/users/{user}/disable")).token(&boss.access).send().await.is(200);
    app.post(&format!("/users/{user}/reset-token")).token(&boss.access).send().await.is(404);
    app.post(&format!("/users/{user}/enable")).token(&boss.access).send().await.is(200);
    reset(&void, "again").await.reads(invalid);
    let expired = issue(&user).await;
    app.execute("UPDATE account SET reset_until = 1700000000 WHERE username = 'jose'");
    reset(&expired, "again").await.reads(invalid);
    let gone = issue(&user).await;
    app.delete(&format!("/user/{user}")).token(&boss.access).send().await.is(200);
    reset(&gone, "again").await.reads(invalid);
}

#[tokio::test]
async fn a_client_issues_tokens_that_reset_passwords_but_not_those_of_administrators() {
    let app =
        TestApp::with(&[("client_reset_quota", "6 per 1h")]).await.with_user("jose").await.with_admin("boss").await;
    let (jose, boss) = (app.log_in("jose").await, app.log_in("boss").await);
    let user = app.user_id(&jose);
    let shop = app.client("shop", &[Capability::ResetPassword]).await;
    let all_but_this = Capability::ALL.into_iter().filter(|capability| *capability != Capability::ResetPassword);
    let other = app.client("other", &all_but_this.collect::<Vec<_>>()).await;
    let issue =
        |client, name: &str| app.post("/password/reset-token").by(client).json(json!({"username": name})).send();
    let reset = |token: &str, password: &str| {
        app.post("/password/reset").json(json!({"token": token, "new_password": password})).send()
    };
    assert_snapshot!(issue(&other, "jose").await, @r#"403 {"code":403,"message":"This client may not reset-password.","status":"Forbidden"}"#);
    let by_token = app.post("/password/reset-token").token(&boss.access).json(json!({"username": "jose"}));
    by_token.send().await.is(401);

    let issued = issue(&shop, "jose").await;
    issued.is(200);
    assert_eq!((issued.json()["expires_in"].as_u64(), issued.header("cache-control")), (Some(3600), Some("no-store")));
    reset(issued.json()["reset_token"].as_str().unwrap(), "mine").await.is(200);
    app.verify(&jose.access).await.is_revoked();
    for nobody in ["boss", "nobody"] {
        issue(&shop, nobody).await.reads(r#"404 {"code":404,"status":"Not Found"}"#);
    }
    // One that was issued before is not one for an administrator's password either.
    let before = issue(&shop, "jose").await.json()["reset_token"].as_str().unwrap().to_owned();
    app.post(&format!("/users/{user}/promote")).token(&boss.access).send().await.is(200);
    reset(&before, "theirs").await.is(422);
    issue(&shop, "jose").await.is(404);
    app.post(&format!("/users/{user}/demote")).token(&boss.access).send().await.is(200);
    app.post(&format!("/users/{user}/disable")).token(&boss.access).send().await.is(200);
    issue(&shop, "jose").await.is(404);
    // Those that were not found count too.
    let refused = issue(&shop, "jose").await;
    assert_snapshot!(refused, @r#"429 {"code":429,"message":"This client has used up its quota of reset tokens. Try again later.","status":"Too Many Requests"}"#);
    assert!(refused.header("retry-after").is_some());
}

/// A time that could not be written is written with the next ones.
#[tokio::test]
async fn the_last_login_is_known_once_the_store_can_be_written_again() {
    let app = TestApp::start().await.with_admin("boss").await.with_user("jose").await;
    let boss = app.log_in("boss").await;
    let jose = app.user_id(&app.log_in("jose").await);
    let last_login = async || {
        let users = app.get("/users?name=jose").token(&boss.access).send().await.json();
        assert_eq!(users["users"][0]["id"], jose);
        users["users"][0]["last_login_at"].clone()
    };
    assert_eq!(last_login().await, json!(null), "not written yet");
    app.execute(
        "CREATE TRIGGER broken BEFORE UPDATE OF last_login_at ON account BEGIN SELECT RAISE(ABORT, 'broken'); END",
    );
    app.node.accounts.flush_last_logins().await.unwrap_err();
    app.execute("DROP TRIGGER broken");
    app.node.accounts.flush_last_logins().await.unwrap();
    assert!(last_login().await.is_u64());
}

/// Otherwise the token would let the old password remain.
#[tokio::test]
async fn a_user_who_must_change_the_password_resets_it_to_another() {
    let app = TestApp::start().await.with_admin("boss").await.with_user("jose").await;
    let boss = app.log_in("boss").await;
    let jose = app.user_id(&app.log_in("jose").await);
    let post = |path: &str| app.post(&format!("/users/{jose}/{path}")).token(&boss.access).send();
    post("require-password-change").await.is(200);
    let token = post("reset-token").await.json()["reset_token"].as_str().unwrap().to_owned();
    let reset =
        |password: &str| app.post("/password/reset").json(json!({"token": token, "new_password": password})).send();
    reset(PASSWORD).await.reads(
        r#"422 {"code":422,"errors":{"json":{"new_password":["Must not be the current password."]}},"status":"Unprocessable Entity"}"#,
    );
    app.post("/login").json(credentials("jose", PASSWORD)).send().await.is(403);
    reset("another").await.is(200);
    app.post("/login").json(credentials("jose", "another")).send().await.is(200);
}

#[tokio::test]
async fn attempts_to_reset_a_password_are_limited() {
    let app = TestApp::with(&[("login_attempts_per_address", "2 per 1h")]).await;
    let reset = || app.post("/password/reset").json(json!({"token": "eA.x", "new_password": "new"})).send();
    for status in [422, 422, 429] {
        reset().await.is(status);
    }
}

#[tokio::test]
async fn wrong_passwords_for_a_change_are_limited_like_failed_logins() {
    let app = TestApp::with(&[("login_attempts_per_account", "2 per 1h")]).await.with_user("jose").await;
    let change = |password: &str| {
        app.post("/password/change")
            .json(json!({"username": "jose", "password": password, "new_password": "new"}))
            .send()
    };
    change("wrong").await.is(401);
    app.post("/login").json(credentials("jose", "wrong")).send().await.is(401);
    change(PASSWORD).await.is(429);
}

#[tokio::test]
async fn sessions_are_listed_part_by_part() {
    let (app, jose, boss) = start().await;
    app.log_in("jose").await;
    app.log_in("jose").await;
    let user = app.user_id(&jose);
    let list = |query: String| app.get(&format!("/admin/sessions?{query}")).token(&boss.access).send();
    let parts = async |query: &str| {
        let (mut sessions, mut next) = (Vec::new(), String::new());
        loop {
            let part = list(format!("{query}{next}")).await.json();
            sessions.extend(part["sessions"].as_array().unwrap().clone());
            match part["next"].as_str() {
                Some(cursor) => next = format!("&after={cursor}"),
                None => return sessions,
            }
        }
    };
    let all = parts("limit=100").await;
    assert_eq!(all.len(), 4);
    // A page may end within the sessions of a user or between two users.
    for limit in 1..4 {
        assert_eq!(parts(&format!("limit={limit}")).await, all);
    }
    let of_jose: Vec<_> = all.iter().filter(|one| one["user_id"] == *user).cloned().collect();
    assert!(of_jose.is_sorted_by_key(|one| one["id"].as_str().unwrap().to_owned()) && of_jose.len() == 3);
    assert_eq!(parts(&format!("subject={user}&limit=1")).await, of_jose);

    // A cursor that no page returned, and the cursor of another list.
    let next = list(format!("subject={user}&limit=1")).await.json()["next"].as_str().unwrap().to_owned();
    let refused = list(format!("subject={}&after={next}", app.user_id(&boss))).await;
    assert_snapshot!(refused, @r#"422 {"code":422,"errors":{"query":{"after":["Must be `next` of the part before."]}},"status":"Unprocessable Entity"}"#);
    for after in [&user, "", ".", "YQ", "YQ.", ".YQ", "YQ.Y", "YQ.YR", "YQ.YQ.YQ", "YQ.YQ=", "YQ.gA"] {
        assert_eq!(list(format!("after={after}")).await.to_string(), refused.to_string(), "{after}");
    }
    list("after=YQ.YQ".into()).await.is(200);
}

#[tokio::test]
async fn a_revocation_says_what_it_ended() {
    let (app, jose, boss) = start().await;
    let revoke = |body: serde_json::Value| app.post("/revocations").token(&boss.access).json(body).send();
    assert_snapshot!(
        revoke(json!({"token": jose.access})).await,
        @r#"200 {"message":"Revoked.","sessions_ended":0,"own_token_revoked":false}"#
    );
    app.post("/refresh").token(&jose.refresh).send().await.is(200);
    let session = app.node.sessions.inspect(&jose.refresh).map(|token| token.subject().clone()).unwrap();
    assert_snapshot!(
        revoke(json!({"subject": session})).await,
        @r#"200 {"message":"Revoked.","sessions_ended":1,"own_token_revoked":false}"#
    );
    assert_snapshot!(
        revoke(json!({"everything": true})).await,
        @r#"200 {"message":"Revoked.","sessions_ended":1,"own_token_revoked":true}"#
    );
    revoke(json!({"everything": true})).await.is_revoked();
    let again = app.log_in("boss").await;
    app.verify(&again.access).await.is(204);
}

#[tokio::test]
async fn a_revocation_names_one_thing_exactly() {
    let (app, jose, boss) = start().await;
    let mut answers = String::new();
    for body in [
        json!({}),
        json!({"token": jose.access, "everything": true}),
        json!({"everything": false}),
        json!({"everything": "yes"}),
        json!({"token": "nonsense"}),
        json!({"session": ""}),
        json!({"subject": 7}),
        json!({"token_id": "x", "expires_at": "soon"}),
        json!({"token_id": "x", "expires_at": 99_999_999_999_u64}),
        json!({"session": "x", "expires_at": 1}),
        json!({"user": "x"}),
    ] {
        let answer = app.post("/revocations").token(&boss.access).json(body).send().await;
        answer.is(422);
        answers += &format!("{}\n", answer.json()["errors"]["json"]);
    }
    assert_snapshot!(answers, @r#"
    {"_schema":["Give exactly one of token, token_id, session, subject, claim, key and everything."]}
    {"_schema":["Give exactly one of token, token_id, session, subject, claim, key and everything."]}
    {"everything":["Must be true."]}
    {"everything":["Not a valid boolean."]}
    {"token":["Not a token of this server."]}
    {"session":["an id must not be empty"]}
    {"subject":["Not a valid string."]}
    {"expires_at":["Not a valid integer."]}
    {"expires_at":["Later than any token of this server."]}
    {"expires_at":["Goes with token_id only."]}
    {"user":["Unknown field."]}
    "#);
    app.verify(&jose.access).await.is(204);
}
