use serde_json::json;

use crate::{MISSING, admin_required, invalid, message, no_token, not_found, server::Server};

#[tokio::test]
async fn an_item_is_made_shown_and_listed() {
    let server = Server::start().await;
    let token = server.user("jose").await.access;
    assert_eq!(server.get("/item", &token).await, (200, json!([])));

    server.post("/store", "", json!({"name": "corner shop"})).await;
    let chair = json!({"id": 1, "name": "chair", "price": 17.5, "store": {"id": 1, "name": "corner shop"}, "tags": []});
    let new = json!({"name": "chair", "price": 17.5, "store_id": 1});
    assert_eq!(server.post("/item", &token, new).await, (201, chair.clone()));
    // As in marshmallow, a number may be sent as a text. A store that does not exist is accepted.
    let lamp = json!({"id": 2, "name": "lamp", "price": 9.0, "store": null, "tags": []});
    let new = json!({"name": "lamp", "price": "9", "store_id": "7"});
    assert_eq!(server.post("/item", &token, new).await, (201, lamp.clone()));

    assert_eq!(server.get("/item/1", &token).await, (200, chair.clone()));
    assert_eq!(server.get("/item", &token).await, (200, json!([chair, lamp])));
    assert_eq!(server.get("/item/3", &token).await, not_found());
}

#[tokio::test]
async fn what_is_wrong_with_a_new_item_is_said_at_once() {
    let server = Server::start().await;
    let token = server.user("jose").await.access;
    let post = async |body| server.post("/item", &token, body).await;
    let missing = invalid(json!({"name": [MISSING], "price": [MISSING], "store_id": [MISSING]}));
    assert_eq!(post(json!({})).await, missing);
    let wrong = invalid(json!({
        "name": ["Not a valid string."], "price": ["Not a valid number."], "store_id": ["Not a valid integer."],
    }));
    assert_eq!(post(json!({"name": 1, "price": "much", "store_id": 1.5})).await, wrong);
    let unknown = invalid(json!({"unknown_field": ["Unknown field."]}));
    assert_eq!(post(json!({"name": "a", "price": 1, "store_id": 1, "unknown_field": 1})).await, unknown);
    assert_eq!(post(json!({"name": "a", "price": "inf", "store_id": 1})).await.0, 422);
    assert_eq!(post(json!({"name": "a".repeat(20_000), "price": 1, "store_id": 1})).await.0, 413);
    assert_eq!(server.get("/item", &token).await, (200, json!([])));
}

#[tokio::test]
async fn an_item_is_replaced_or_made_by_put() {
    let server = Server::start().await;
    let token = server.user("jose").await.access;
    server.post("/store", "", json!({"name": "corner shop"})).await;

    let replacement = json!({"name": "table", "price": 30});
    let no_store = invalid(json!({"store_id": [MISSING]}));
    assert_eq!(server.put("/item/5", replacement.clone()).await, no_store);
    let both = invalid(json!({"name": [MISSING], "price": [MISSING]}));
    assert_eq!(server.put("/item/5", json!({})).await, both);

    let store = json!({"id": 1, "name": "corner shop"});
    let chair = json!({"id": 5, "name": "chair", "price": 17.5, "store": store, "tags": []});
    assert_eq!(server.put("/item/5", json!({"name": "chair", "price": 17.5, "store_id": 1})).await, (200, chair));
    let table = json!({"id": 5, "name": "table", "price": 30.0, "store": store, "tags": []});
    assert_eq!(server.put("/item/5", replacement).await, (200, table.clone()));
    assert_eq!(server.put("/item/5", json!({})).await, both);
    assert_eq!(server.put("/item/0", json!({"name": "a", "price": 1, "store_id": 1})).await, not_found());
    assert_eq!(server.get("/item", &token).await, (200, json!([table])));
}

#[tokio::test]
async fn an_item_is_deleted_by_the_admin() {
    let server = Server::start().await;
    let (admin, anna) = (server.user("admin").await, server.user("anna").await);
    server.post("/item", &anna.access, json!({"name": "chair", "price": 1, "store_id": 1})).await;

    assert_eq!(server.delete("/item/1", "").await, no_token());
    assert_eq!(server.delete("/item/1", &anna.access).await, admin_required());
    assert_eq!(server.delete("/item/1", &admin.access).await, message(200, "Item deleted."));
    assert_eq!(server.delete("/item/1", &admin.access).await, not_found());
}
