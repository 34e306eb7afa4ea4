//! Stores, which have items and tags.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{FromRow, Row as _, SqlitePool, sqlite::SqliteRow, types::Json as FromJson};

use crate::{
    App,
    error::{Error, OrConstraint as _, Result},
    input::{Body, Fields, Path, Schema},
    items::PlainItem,
};

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/store", get(list).post(create)).route("/store/{id}", get(show).delete(delete))
}

#[derive(Serialize)]
struct Store {
    id: i64,
    name: String,
    items: FromJson<Vec<PlainItem>>,
    tags: FromJson<Vec<Named>>,
}

impl FromRow<'_, SqliteRow> for Store {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let (id, name) = (row.try_get("id")?, row.try_get("name")?);
        Ok(Self { id, name, items: row.try_get("items")?, tags: row.try_get("tags")? })
    }
}

/// A store or a tag as part of another object.
#[derive(Serialize, Deserialize)]
pub(crate) struct Named {
    id: i64,
    name: String,
}

/// The body that creates a store or a tag.
pub(crate) struct NewName(pub(crate) String);

impl Schema for NewName {
    fn load(fields: &mut Fields) -> Option<Self> {
        fields.text("name").map(Self)
    }
}

async fn find(database: &SqlitePool, id: i64) -> Result<Json<Store>> {
    Ok(Json(sqlx::query_as("SELECT * FROM shown_stores WHERE id = $1").bind(id).fetch_one(database).await?))
}

async fn list(State(database): State<SqlitePool>) -> Result<Json<Vec<Store>>> {
    Ok(Json(sqlx::query_as("SELECT * FROM shown_stores ORDER BY id").fetch_all(&database).await?))
}

async fn create(
    State(database): State<SqlitePool>,
    Body(NewName(name)): Body<NewName>,
) -> Result<(StatusCode, Json<Store>)> {
    const TAKEN: Error = Error::Because(StatusCode::BAD_REQUEST, "A store with that name already exists.");

    let insert = sqlx::query_scalar("INSERT INTO stores (name) VALUES ($1) RETURNING id");
    let id = insert.bind(name).fetch_one(&database).await.or_constraint(TAKEN)?;
    Ok((StatusCode::CREATED, find(&database, id).await?))
}

async fn show(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<Store>> {
    find(&database, id).await
}

/// Deletes a store with its items and tags.
async fn delete(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<Value>> {
    let mut transaction = database.begin().await?;
    for statement in [
        "DELETE FROM item_tags WHERE tag_id IN (SELECT id FROM tags WHERE store_id = $1)",
        "DELETE FROM items WHERE store_id = $1",
    ] {
        sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
    }
    let deletion = sqlx::query("DELETE FROM stores WHERE id = $1").bind(id).execute(&mut *transaction).await?;
    if deletion.rows_affected() == 0 {
        return Err(Error::NotFound);
    }
    transaction.commit().await?;
    Ok(Json(json!({ "message": "Store deleted" })))
}
