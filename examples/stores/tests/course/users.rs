use serde_json::json;

use crate::{
    MISSING, admin_required, invalid, message, no_token, not_found, not_fresh, revoked,
    server::{Server, Tokens, credentials},
};

#[tokio::test]
async fn register() {
    let server = Server::start().await;
    let taken = json!({"code": 409, "message": "A user with that username already exists.", "status": "Conflict"});
    assert_eq!(server.post("/register", "", credentials("jose")).await, message(201, "User created successfully."));
    assert_eq!(server.post("/register", "", credentials("jose")).await, (409, taken));
}

#[tokio::test]
async fn names_and_passwords_are_there_and_not_empty() {
    let server = Server::start().await;
    for path in ["/register", "/login"] {
        let post = async |body| server.post(path, "", body).await;
        let missing = invalid(json!({"username": [MISSING], "password": [MISSING]}));
        assert_eq!(post(json!({})).await, missing, "{path}");
        let wrong = invalid(json!({"username": ["Not a valid string."], "password": ["Field may not be null."]}));
        assert_eq!(post(json!({"username": 1, "password": null})).await, wrong, "{path}");
        let unknown = invalid(json!({"email": ["Unknown field."]}));
        assert_eq!(post(json!({"username": "a", "password": "b", "email": "c"})).await, unknown, "{path}");
        let length = "Length must be between 1 and 80.";
        let empty = invalid(json!({"username": [length], "password": [length]}));
        assert_eq!(post(json!({"username": "", "password": ""})).await, empty, "{path}");
        assert_eq!(post(json!([])).await, invalid(json!({"_schema": ["Invalid input type."]})), "{path}");
        let (status, body) = server.ask(reqwest::Method::POST, path, "", Some("{")).await;
        assert_eq!((status, &body["errors"]), (400, &json!({"json": ["Invalid JSON body."]})), "{path}");
    }
}

#[tokio::test]
async fn login_gives_a_fresh_access_token_and_a_refresh_token() {
    let server = Server::start().await;
    let tokens = server.user("jose").await;
    let item = json!({"name": "chair", "price": 1, "store_id": 1});
    assert_eq!(server.post("/item", &tokens.access, item).await.0, 201);

    let wrong = (401, json!({"code": 401, "message": "Invalid credentials.", "status": "Unauthorized"}));
    for (name, password) in [("jose", "4321"), ("anna", "1234")] {
        let body = json!({"username": name, "password": password});
        assert_eq!(server.post("/login", "", body).await, wrong, "{name}");
    }
}

#[tokio::test]
async fn refresh_gives_an_access_token_that_is_not_fresh_and_uses_the_refresh_token_up() {
    let server = Server::start().await;
    let first = server.user("jose").await;
    let second = Tokens::of(server.refresh(&first.refresh).await);
    assert_eq!(server.get("/item", &second.access).await, (200, json!([])));
    let item = json!({"name": "chair", "price": 1, "store_id": 1});
    assert_eq!(server.post("/item", &second.access, item).await, not_fresh());

    // A second use means that the token was stolen: the whole session ends.
    assert_eq!(server.refresh(&first.refresh).await, revoked());
    assert_eq!(server.refresh(&second.refresh).await, revoked());
    assert_eq!(server.get("/item", &second.access).await, revoked());
}

#[tokio::test]
async fn a_user_is_shown_to_everyone() {
    let server = Server::start().await;
    server.user("jose").await;
    assert_eq!(server.get("/user/1", "").await, (200, json!({"id": 1, "username": "jose"})));
    for path in ["/user/2", "/user/0", "/user/jose", "/user/99999999999999999999"] {
        assert_eq!(server.get(path, "").await, not_found(), "{path}");
    }
}

#[tokio::test]
async fn a_user_is_deleted_by_itself_or_by_the_admin_and_its_sessions_end() {
    let server = Server::start().await;
    let (admin, anna, rolf) = (server.user("admin").await, server.user("anna").await, server.user("rolf").await);
    assert_eq!(server.delete("/user/3", "").await, no_token());
    assert_eq!(server.delete("/user/3", &anna.access).await, admin_required());

    assert_eq!(server.delete("/user/3", &rolf.access).await, message(200, "User deleted."));
    assert_eq!(server.delete("/user/2", &admin.access).await, message(200, "User deleted."));
    for deleted in [&anna, &rolf] {
        assert_eq!(server.get("/item", &deleted.access).await, revoked());
        assert_eq!(server.refresh(&deleted.refresh).await, revoked());
    }
    assert_eq!(server.delete("/user/2", &admin.access).await, not_found());

    // The next user gets another id.
    server.user("next").await;
    assert_eq!(server.get("/user/3", "").await, not_found());
    assert_eq!(server.get("/user/4", "").await, (200, json!({"id": 4, "username": "next"})));
}
