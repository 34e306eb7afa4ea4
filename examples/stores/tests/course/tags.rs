use serde_json::json;

use crate::{MISSING, bad_request, invalid, message, not_found, server::Server};

/// A server with a store and an item in it.
async fn start() -> Server {
    let server = Server::start().await;
    server.post("/store", "", json!({"name": "corner shop"})).await;
    server.put("/item/1", json!({"name": "chair", "price": 17, "store_id": 1})).await;
    server
}

#[tokio::test]
async fn a_tag_is_made_shown_and_listed() {
    let server = start().await;
    assert_eq!(server.get("/store/1/tag", "").await, (200, json!([])));
    let tag = json!({"id": 1, "name": "wood", "items": [], "store": {"id": 1, "name": "corner shop"}});
    assert_eq!(server.post("/store/1/tag", "", json!({"name": "wood"})).await, (201, tag.clone()));
    assert_eq!(
        server.post("/store/1/tag", "", json!({"name": "wood"})).await,
        bad_request("A tag with that name already exists in that store.")
    );
    assert_eq!(server.post("/store/1/tag", "", json!({})).await, invalid(json!({"name": [MISSING]})));
    assert_eq!(server.post("/store/2/tag", "", json!({"name": "wood"})).await, not_found());

    assert_eq!(server.get("/tag/1", "").await, (200, tag.clone()));
    assert_eq!(server.get("/tag/2", "").await, not_found());
    assert_eq!(server.get("/store/1/tag", "").await, (200, json!([tag])));
    assert_eq!(server.get("/store/2/tag", "").await, not_found());
}

#[tokio::test]
async fn a_tag_is_put_on_an_item_and_taken_off() {
    let server = start().await;
    server.post("/store/1/tag", "", json!({"name": "wood"})).await;
    let store = json!({"id": 1, "name": "corner shop"});
    let on = json!({"id": 1, "name": "wood", "items": [{"id": 1, "name": "chair", "price": 17.0}], "store": store});
    for _ in 0..2 {
        assert_eq!(server.post("/item/1/tag/1", "", json!({})).await, (201, on.clone()));
    }
    for path in ["/item/2/tag/1", "/item/1/tag/2"] {
        assert_eq!(server.post(path, "", json!({})).await, not_found());
        assert_eq!(server.delete(path, "").await, not_found());
    }
    let token = server.user("jose").await.access;
    assert_eq!(server.get("/item/1", &token).await.1["tags"], json!([{"id": 1, "name": "wood"}]));

    let off = json!({
        "message": "Item removed from tag",
        "item": {"id": 1, "name": "chair", "price": 17.0, "store": store, "tags": []},
        "tag": {"id": 1, "name": "wood", "items": [], "store": store},
    });
    assert_eq!(server.delete("/item/1/tag/1", "").await, (200, off));
    assert_eq!(server.delete("/item/1/tag/1", "").await, not_found());
}

#[tokio::test]
async fn a_tag_is_deleted_once_no_item_has_it() {
    let server = start().await;
    server.post("/store/1/tag", "", json!({"name": "wood"})).await;
    server.post("/item/1/tag/1", "", json!({})).await;
    assert_eq!(
        server.delete("/tag/1", "").await,
        bad_request("Could not delete tag. Make sure tag is not associated with any items, then try again.")
    );
    server.delete("/item/1/tag/1", "").await;
    assert_eq!(server.delete("/tag/1", "").await, message(202, "Tag deleted."));
    assert_eq!(server.delete("/tag/1", "").await, not_found());
}
