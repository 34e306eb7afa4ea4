use serde_json::json;

use crate::{MISSING, bad_request, invalid, message, not_found, server::Server};

#[tokio::test]
async fn a_store_is_made_shown_and_listed() {
    let server = Server::start().await;
    assert_eq!(server.get("/store", "").await, (200, json!([])));
    let empty = json!({"id": 1, "name": "corner shop", "items": [], "tags": []});
    assert_eq!(server.post("/store", "", json!({"name": "corner shop"})).await, (201, empty));
    assert_eq!(
        server.post("/store", "", json!({"name": "corner shop"})).await,
        bad_request("A store with that name already exists.")
    );
    assert_eq!(server.post("/store", "", json!({})).await, invalid(json!({"name": [MISSING]})));

    server.put("/item/1", json!({"name": "chair", "price": 17, "store_id": 1})).await;
    server.post("/store/1/tag", "", json!({"name": "wood"})).await;
    let full = json!({
        "id": 1, "name": "corner shop",
        "items": [{"id": 1, "name": "chair", "price": 17.0}], "tags": [{"id": 1, "name": "wood"}],
    });
    assert_eq!(server.get("/store/1", "").await, (200, full.clone()));
    assert_eq!(server.get("/store", "").await, (200, json!([full])));
    assert_eq!(server.get("/store/2", "").await, not_found());
}

#[tokio::test]
async fn a_store_goes_with_its_items_and_tags() {
    let server = Server::start().await;
    for name in ["corner shop", "market"] {
        server.post("/store", "", json!({"name": name})).await;
    }
    for store in [1, 2] {
        let item = json!({"name": "chair", "price": 17, "store_id": store});
        server.put(&format!("/item/{store}"), item).await;
        server.post(&format!("/store/{store}/tag"), "", json!({"name": "wood"})).await;
        // Each store's tag is on both items: these links must not prevent the deletion of a store.
        for item in [1, 2] {
            server.post(&format!("/item/{item}/tag/{store}"), "", json!({})).await;
        }
    }
    assert_eq!(server.delete("/store/1", "").await, message(200, "Store deleted"));
    assert_eq!(server.delete("/store/1", "").await, not_found());
    assert_eq!(server.get("/tag/1", "").await, not_found());
    let token = server.user("jose").await.access;
    assert_eq!(server.get("/item/1", &token).await, not_found());
    assert_eq!(server.get("/item/2", &token).await.1["tags"], json!([{"id": 2, "name": "wood"}]));
}
