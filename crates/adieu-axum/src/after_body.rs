//! Extractors that must still succeed after the body has been read.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Response},
};

/// Extracts `T` from the head of a request, then `E` from its body, then `T` again: the handler runs only if `T` succeeds
/// both times.
///
/// A client decides when it sends a body. A token that was valid when the head arrived may have been revoked or expired
/// before the body arrives; an attacker with a stolen token can open requests in advance. A handler that takes a token and a
/// body therefore takes both with `AfterBody`, or is below a [`Protect`](crate::Protect) layer, which also verifies the token
/// again.
///
/// `AfterBody` waits for the body as long as `E` does; `tower_http::timeout::RequestBodyTimeoutLayer` limits that, as
/// `Protect` does by itself.
///
/// `T` can be any extractor of the head, including the application's own, an `Option`, or several in a tuple. A request whose
/// head is rejected is answered before its body is read.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::session::Sessions;
/// # use adieu_axum::{AccessToken, AfterBody};
/// # use axum::{Json, Router, routing::post};
/// #[derive(serde::Deserialize)]
/// struct Note {
///     text: String,
/// }
///
/// async fn add_note(AfterBody(token, Json(note)): AfterBody<AccessToken, Json<Note>>) -> String {
///     format!("{} notes: {}", token.subject(), note.text)
/// }
///
/// # fn router() -> Router<Arc<Sessions>> {
/// Router::new().route("/notes", post(add_note))
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AfterBody<T, E>(pub T, pub E);

impl<S, T, E> FromRequest<S> for AfterBody<T, E>
where
    S: Send + Sync,
    T: FromRequestParts<S> + Send,
    E: FromRequest<S> + Send,
{
    /// The rejection of `T` or of `E`, as a response.
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let mut again = parts.clone();
        T::from_request_parts(&mut parts, state).await.map_err(IntoResponse::into_response)?;
        let request = Request::from_parts(parts, body);
        let read = E::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let head = T::from_request_parts(&mut again, state).await.map_err(IntoResponse::into_response)?;
        Ok(Self(head, read))
    }
}
