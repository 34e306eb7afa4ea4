//! Users: who they are, and their way in and out. Sessions and tokens are Adieu's; this application hands in a subject.

use adieu::{
    Subject,
    session::{Origin, Scope, Selection, SessionError, TokenPair},
    token::Claims,
};
use adieu_axum::{AccessToken, BearerToken};
use axum::{
    Json, RequestPartsExt as _, Router,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::{FromRow, SqlitePool};

use crate::{
    App,
    error::{Error, OrConstraint as _, Result},
    input::{Body, Fields, Path, Schema},
};

/// The claim that says whether an access token is an administrator's.
const IS_ADMIN: &str = "is_admin";

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

#[derive(Serialize, FromRow)]
struct User {
    id: i64,
    username: String,
}

/// An access token of an administrator.
pub(crate) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let token: AccessToken = parts.extract_with_state(app).await?;
        if is_admin(&token) { Ok(Self) } else { Err(Error::ADMIN_REQUIRED) }
    }
}

fn is_admin(claims: &Claims) -> bool {
    claims.custom.get(IS_ADMIN) == Some(&Value::Bool(true))
}

/// The first user is the administrator.
fn custom_claims(subject: &Subject) -> Map<String, Value> {
    Map::from_iter([(IS_ADMIN.to_owned(), Value::Bool(subject.as_str() == "1"))])
}

fn subject(id: i64) -> Result<Subject> {
    Subject::new(id.to_string()).map_err(|_| Error::Internal("a number is always an id"))
}

async fn exists(database: &SqlitePool, subject: &Subject) -> Result<bool> {
    // A subject is an id as text.
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM users WHERE id = CAST($1 AS INTEGER))");
    Ok(query.bind(subject.as_str()).fetch_one(database).await?)
}

async fn register(
    State(app): State<App>,
    Body(Credentials { username, password }): Body<Credentials>,
) -> Result<impl IntoResponse> {
    const TAKEN: Error = Error::Because(StatusCode::CONFLICT, "A user with that username already exists.");

    let password = app.hasher.hash(password).await?;
    let insert = sqlx::query("INSERT INTO users (username, password) VALUES ($1, $2)");
    insert.bind(username).bind(password).execute(&app.database).await.or_constraint(TAKEN)?;
    Ok((StatusCode::CREATED, Json(json!({ "message": "User created successfully." }))))
}

async fn log_in(
    State(app): State<App>,
    Body(Credentials { username, password }): Body<Credentials>,
) -> Result<impl IntoResponse> {
    const WRONG: Error = Error::Because(StatusCode::UNAUTHORIZED, "Invalid credentials.");

    let query = sqlx::query_as("SELECT id, password FROM users WHERE username = $1");
    let user: Option<(i64, String)> = query.bind(username).fetch_optional(&app.database).await?;
    let (id, hash) = user.unzip();
    let (true, Some(id)) = (app.hasher.verify(password, hash).await?, id) else { return Err(WRONG) };

    let subject = subject(id)?;
    let tokens = app.sessions.log_in(subject.clone(), Origin::default(), custom_claims(&subject)).await?;
    // Somebody may have deleted the user meanwhile, and ended the sessions that there were.
    if !exists(&app.database, &subject).await? {
        app.sessions.end_sessions(Selection::OfSubject(subject)).await?;
        return Err(WRONG);
    }
    Ok(answer(tokens))
}

async fn refresh(State(app): State<App>, token: BearerToken) -> Result<impl IntoResponse> {
    let token = app.sessions.inspect(token.as_str())?;
    if !exists(&app.database, token.subject()).await? {
        app.sessions.end_sessions(Selection::OfSubject(token.subject().clone())).await?;
        return Err(SessionError::ended().into());
    }
    let tokens = app.sessions.refresh(&token, custom_claims(token.subject())).await?;
    Ok(answer(tokens))
}

fn answer(tokens: TokenPair) -> impl IntoResponse {
    let body = json!({ "access_token": tokens.access, "refresh_token": tokens.refresh });
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

async fn log_out(State(app): State<App>, token: BearerToken) -> Result<Json<Value>> {
    app.sessions.log_out(token.as_str(), Scope::This).await?;
    Ok(Json(json!({ "message": "Successfully logged out" })))
}

async fn show(State(database): State<SqlitePool>, Path(id): Path<i64>) -> Result<Json<User>> {
    let query = sqlx::query_as("SELECT id, username FROM users WHERE id = $1");
    Ok(Json(query.bind(id).fetch_one(&database).await?))
}

async fn delete(State(app): State<App>, token: AccessToken, Path(id): Path<i64>) -> Result<Json<Value>> {
    let subject = subject(id)?;
    if *token.subject() != subject && !is_admin(&token) {
        return Err(Error::ADMIN_REQUIRED);
    }
    // Before, so that whatever fails can be done again; and after, for whoever logged in meanwhile.
    app.sessions.end_sessions(Selection::OfSubject(subject.clone())).await?;
    let deletion = sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(&app.database).await?;
    app.sessions.end_sessions(Selection::OfSubject(subject)).await?;
    if deletion.rows_affected() == 0 { Err(Error::NotFound) } else { Ok(Json(json!({ "message": "User deleted." }))) }
}
