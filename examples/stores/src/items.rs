//! Items, which belong to a store and have tags.

use adieu_axum::{AccessToken, AfterBody, FreshAccessToken};
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{FromRow, Row as _, SqlitePool, sqlite::SqliteRow, types::Json as FromJson};

use crate::{
    App,
    error::{Error, Result},
    input::{Body, Fields, Path, Schema},
    stores::Named,
    users::Admin,
};

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/item", get(list).post(create)).route("/item/{id}", get(show).put(replace).delete(delete))
}

#[derive(Serialize)]
pub(crate) struct Item {
    id: i64,
    name: String,
    price: f64,
    store: Option<FromJson<Named>>,
    tags: FromJson<Vec<Named>>,
}

impl FromRow<'_, SqliteRow> for Item {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let (id, name, price) = (row.try_get("id")?, row.try_get("name")?, row.try_get("price")?);
        Ok(Self { id, name, price, store: row.try_get("store")?, tags: row.try_get("tags")? })
    }
}

/// An item as part of another object.
#[derive(Serialize, Deserialize)]
pub(crate) struct PlainItem {
    id: i64,
    name: String,
    price: f64,
}

impl Item {
    pub(crate) async fn find(database: &SqlitePool, id: i64) -> Result<Json<Self>> {
        Ok(Json(sqlx::query_as("SELECT * FROM shown_items WHERE id = $1").bind(id).fetch_one(database).await?))
    }
}

struct NewItem {
    name: String,
    price: f64,
    store_id: i64,
}

impl Schema for NewItem {
    fn load(fields: &mut Fields) -> Option<Self> {
        let (name, price, store_id) = (fields.text("name"), fields.number("price"), fields.integer("store_id"));
        Some(Self { name: name?, price: price?, store_id: store_id? })
    }
}

struct Replacement {
    name: String,
    price: f64,
    /// Required if there is no item to replace.
    store_id: Option<i64>,
}

impl Schema for Replacement {
    fn load(fields: &mut Fields) -> Option<Self> {
        let (name, price) = (fields.text("name"), fields.number("price"));
        let store_id = fields.optional_integer("store_id");
        Some(Self { name: name?, price: price?, store_id: store_id? })
    }
}

async fn list(State(database): State<SqlitePool>, _: AccessToken) -> Result<Json<Vec<Item>>> {
    Ok(Json(sqlx::query_as("SELECT * FROM shown_items ORDER BY id").fetch_all(&database).await?))
}

async fn create(
    State(database): State<SqlitePool>,
    AfterBody(_, Body(NewItem { name, price, store_id })): AfterBody<FreshAccessToken, Body<NewItem>>,
) -> Result<(StatusCode, Json<Item>)> {
    let insert = sqlx::query_scalar("INSERT INTO items (name, price, store_id) VALUES ($1, $2, $3) RETURNING id");
    let id = insert.bind(name).bind(price).bind(store_id).fetch_one(&database).await?;
    Ok((StatusCode::CREATED, Item::find(&database, id).await?))
}

async fn show(State(database): State<SqlitePool>, _: AccessToken, Path(id): Path<i64>) -> Result<Json<Item>> {
    Item::find(&database, id).await
}

async fn replace(
    State(database): State<SqlitePool>,
    Path(id): Path<i64>,
    Body(Replacement { name, price, store_id }): Body<Replacement>,
) -> Result<Json<Item>> {
    let update = sqlx::query("UPDATE items SET name = $1, price = $2 WHERE id = $3");
    let updated = update.bind(&name).bind(price).bind(id).execute(&database).await?;
    if updated.rows_affected() == 0 {
        if id < 1 {
            return Err(Error::NotFound);
        }
        let store_id = store_id.ok_or_else(|| Error::field("store_id", "Missing data for required field."))?;
        let insert = sqlx::query(
            "INSERT INTO items (id, name, price, store_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price",
        );
        insert.bind(id).bind(name).bind(price).bind(store_id).execute(&database).await?;
    }
    Item::find(&database, id).await
}

async fn delete(State(database): State<SqlitePool>, _: Admin, Path(id): Path<i64>) -> Result<Json<Value>> {
    let deletion = sqlx::query("DELETE FROM items WHERE id = $1").bind(id).execute(&database).await?;
    if deletion.rows_affected() == 0 { Err(Error::NotFound) } else { Ok(Json(json!({ "message": "Item deleted." }))) }
}
