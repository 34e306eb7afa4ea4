//! Tags, which belong to a store and group its items.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{FromRow, Row as _, SqlitePool, sqlite::SqliteRow, types::Json as FromJson};

use crate::{
    App,
    error::{Error, OrConstraint as _, Result},
    input::{Body, Path},
    items::{Item, PlainItem},
    stores::{Named, NewName},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/store/{id}/tag", get(list).post(create))
        .route("/tag/{id}", get(show).delete(delete))
        .route("/item/{id}/tag/{tag_id}", post(link).delete(unlink))
}

#[derive(Serialize)]
struct Tag {
    id: i64,
    name: String,
    store: Option<FromJson<Named>>,
    items: FromJson<Vec<PlainItem>>,
}

impl FromRow<'_, SqliteRow> for Tag {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let (id, name) = (row.try_get("id")?, row.try_get("name")?);
        Ok(Self { id, name, store: row.try_get("store")?, items: row.try_get("items")? })
    }
}

async fn find(database: &SqlitePool, id: i64) -> Result<Json<Tag>> {
    Ok(Json(sqlx::query_as("SELECT * FROM shown_tags WHERE id = $1").bind(id).fetch_one(database).await?))
}

async fn list(State(database): State<SqlitePool>, Path(store_id): Path<i64>) -> Result<Json<Vec<Tag>>> {
    let query = sqlx::query_scalar::<_, i64>("SELECT id FROM stores WHERE id = $1");
    query.bind(store_id).fetch_one(&database).await?;
    let query = sqlx::query_as("SELECT * FROM shown_tags WHERE store_id = $1 ORDER BY id");
    Ok(Json(query.bind(store_id).fetch_all(&database).await?))
}

async fn create(
    State(database): State<SqlitePool>,
    Path(store_id): Path<i64>,
    Body(NewName(name)): Body<NewName>,
) -> Result<(StatusCode, Json<Tag>)> {
    const TAKEN: Error = Error::Because(StatusCode::BAD_REQUEST, "A tag with that name already exists in that store.");

    // Returns no row if the store does not exist.
    let insert =
        sqlx::query_scalar("INSERT INTO tags (name, store_id) SELECT $1, id FROM stores WHERE id = $2 RETURNING id");
    let id = insert.bind(name).bind(store_id).fetch_one(&database).await.or_constraint(TAKEN)?;
    Ok((StatusCode::CREATED, find(&database, id).await?))
}

async fn show(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<Tag>> {
    find(&database, id).await
}

async fn delete(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<(StatusCode, Json<Value>)> {
    const LINKED: Error = Error::Because(
        StatusCode::BAD_REQUEST,
        "Could not delete tag. Make sure tag is not associated with any items, then try again.",
    );

    let deletion = sqlx::query("DELETE FROM tags WHERE id = $1").bind(id);
    if deletion.execute(&database).await.or_constraint(LINKED)?.rows_affected() == 0 {
        return Err(Error::NotFound);
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": "Tag deleted." }))))
}

async fn link(
    State(database): State<SqlitePool>,
    Path((item_id, tag_id)): Path<(i64, i64)>,
) -> Result<(StatusCode, Json<Tag>)> {
    let insert = sqlx::query("INSERT INTO item_tags (item_id, tag_id) VALUES ($1, $2) ON CONFLICT DO NOTHING");
    insert.bind(item_id).bind(tag_id).execute(&database).await.or_constraint(Error::NotFound)?;
    Ok((StatusCode::CREATED, find(&database, tag_id).await?))
}

async fn unlink(State(database): State<SqlitePool>, Path((item_id, tag_id)): Path<(i64, i64)>) -> Result<Json<Value>> {
    let deletion = sqlx::query("DELETE FROM item_tags WHERE item_id = $1 AND tag_id = $2");
    if deletion.bind(item_id).bind(tag_id).execute(&database).await?.rows_affected() == 0 {
        return Err(Error::NotFound);
    }
    let (Json(item), Json(tag)) = (Item::find(&database, item_id).await?, find(&database, tag_id).await?);
    Ok(Json(json!({ "message": "Item removed from tag", "item": item, "tag": tag })))
}
