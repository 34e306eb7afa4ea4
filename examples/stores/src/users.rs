//! Users: register, log in, refresh, log out. Adieu has the sessions and tokens; this application passes a subject.

use adieu::{
    Subject,
    session::{Scope, Selection, SessionError},
};
use adieu_axum::{AccessToken, Auth, LoggedOut, PresentedToken, RefreshToken, Tokens};
use axum::{
    Json, RequestPartsExt as _, Router,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::SqlitePool;

use crate::{
    App,
    error::{Error, OrConstraint as _, Result},
    input::{Body, Fields, Path, Schema},
};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/register", post(register))
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .route("/logout", post(log_out))
        .route("/user/{id}", get(show).delete(delete))
}

struct Credentials {
    username: String,
    password: String,
}

impl Schema for Credentials {
    fn load(fields: &mut Fields) -> Option<Self> {
        let (username, password) = (fields.short_text("username"), fields.short_text("password"));
        Some(Self { username: username?, password: password? })
    }
}

#[derive(Serialize)]
struct User {
    id: i64,
    username: String,
}

/// The additional claims of this application's access tokens.
#[derive(Deserialize)]
struct Role {
    is_admin: bool,
}

/// Returns the additional claims of a subject: the first user is the administrator.
pub(crate) async fn role(subject: Subject) -> Result<Map<String, Value>, adieu::Error> {
    Ok(Map::from_iter([("is_admin".to_owned(), Value::Bool(subject.as_str() == "1"))]))
}

/// Extracts an access token of the administrator.
pub(crate) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let token: AccessToken<Role> = parts.extract_with_state(app).await?;
        if token.typed.is_admin { Ok(Self) } else { Err(Error::ADMIN_REQUIRED) }
    }
}

fn subject(id: i64) -> Result<Subject> {
    Subject::new(id.to_string()).map_err(|_| Error::Internal("a number is always an id"))
}

async fn exists(database: &SqlitePool, subject: &Subject) -> Result<bool> {
    // A subject is a user's id as text.
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users WHERE id = CAST($1 AS INTEGER))");
    Ok(query.bind(subject.as_str()).fetch_one(database).await?)
}

async fn register(
    State(app): State<App>,
    Body(Credentials { username, password }): Body<Credentials>,
) -> Result<(StatusCode, Json<Value>)> {
    const TAKEN: Error = Error::Because(StatusCode::CONFLICT, "A user with that username already exists.");

    let password = app.hasher.hash(password).await?;
    let insert = sqlx::query("INSERT INTO users (username, password) VALUES ($1, $2)");
    insert.bind(username).bind(password).execute(&app.database).await.or_constraint(TAKEN)?;
    Ok((StatusCode::CREATED, Json(json!({ "message": "User created successfully." }))))
}

async fn log_in(
    State(app): State<App>,
    auth: Auth,
    Body(Credentials { username, password }): Body<Credentials>,
) -> Result<Tokens> {
    let query = sqlx::query_as("SELECT id, password FROM users WHERE username = $1");
    let user: Option<(i64, String)> = query.bind(username).fetch_optional(&app.database).await?;
    let (id, hash) = user.unzip();
    let (true, Some(id)) = (app.hasher.verify(password, hash).await?, id) else {
        return Err(auth.invalid_credentials().into());
    };
    let tokens = auth.log_in(subject(id)?).await?;
    // The user may have been deleted in the meantime, together with the sessions that existed then.
    if !exists(&app.database, &subject(id)?).await? {
        auth.sessions().end_sessions(Selection::OfSubject(subject(id)?)).await?;
        return Err(auth.invalid_credentials().into());
    }
    Ok(tokens)
}

async fn refresh(State(database): State<SqlitePool>, auth: Auth, token: RefreshToken) -> Result<Tokens> {
    if !exists(&database, &token.subject).await? {
        auth.sessions().end_sessions(Selection::OfSubject(token.subject.clone())).await?;
        return Err(auth.guard().reject(SessionError::ended()).into());
    }
    Ok(auth.refresh(&token).await?)
}

async fn log_out(auth: Auth, token: PresentedToken) -> Result<LoggedOut> {
    Ok(auth.log_out(&token, Scope::This).await?)
}

async fn show(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<User>> {
    let query = sqlx::query_as("SELECT id, username FROM users WHERE id = $1");
    let (id, username) = query.bind(id).fetch_one(&database).await?;
    Ok(Json(User { id, username }))
}

async fn delete(
    State(database): State<SqlitePool>,
    auth: Auth,
    token: AccessToken<Role>,
    Path(id): Path<i64>,
) -> Result<Json<Value>> {
    let subject = subject(id)?;
    if *token.subject() != subject && !token.typed.is_admin {
        return Err(Error::ADMIN_REQUIRED);
    }
    // Before the deletion, so that a failed request can be repeated; and after it, for sessions that began in between.
    auth.sessions().end_sessions(Selection::OfSubject(subject.clone())).await?;
    let deletion = sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&database).await?;
    auth.sessions().end_sessions(Selection::OfSubject(subject)).await?;
    if deletion.rows_affected() == 0 { Err(Error::NotFound) } else { Ok(Json(json!({ "message": "User deleted." }))) }
}
