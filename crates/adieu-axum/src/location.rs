//! The places in a request where tokens are looked for.

mod bearer;
mod body;
mod find;

use axum::{Extension, http::HeaderName, http::header};

pub use bearer::BearerToken;
pub use body::{DEFAULT_BODY_TIMEOUT, DEFAULT_MAX_BODY_BYTES, ReadBodies};
pub(crate) use body::{ReadBody, Reading, read_body, too_slow};
pub(crate) use find::{Candidates, Found, Places, Wanted, find, in_cookies, sets_cookie};

/// A place in a request where a token may be.
///
/// A [`Guard`](crate::Guard) searches its places in order, and the first one with a token decides: an invalid token there is
/// rejected, whatever the later places contain. Two tokens in one place are rejected as ambiguous, except in cookies; see
/// [`Cookies`](crate::Cookies).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A header, with a scheme before the token. The scheme is compared case-insensitively (RFC 9110 §11.1); a value with
    /// another scheme is not a token. With an empty scheme the whole value is the token.
    Header {
        /// The header's name.
        name: HeaderName,
        /// The scheme; empty for none.
        scheme: String,
    },
    /// The cookies of the guard's [`Cookies`](crate::Cookies).
    Cookies,
    /// A parameter of the query string. URLs end up in logs and histories: use it only for clients that cannot send a header.
    Query {
        /// The parameter's name.
        name: String,
        /// The prefix of the value, before the token. A value without the prefix is not a token.
        prefix: String,
    },
    /// A member of the JSON object in the body. It requires a layer that reads the body before the handler does:
    /// [`Guard::read_bodies`](crate::Guard::read_bodies) or [`Guard::protect`](crate::Guard::protect).
    JsonBody {
        /// The name of the member with an access token.
        access: String,
        /// The name of the member with a refresh token.
        refresh: String,
    },
}

impl Location {
    /// Returns the header `Authorization: Bearer …` (RFC 6750 §2.1).
    #[must_use]
    pub fn bearer() -> Self {
        Self::header(header::AUTHORIZATION, "Bearer")
    }

    /// Returns another header; an empty `scheme` means none.
    #[must_use]
    pub fn header(name: HeaderName, scheme: impl Into<String>) -> Self {
        Self::Header { name, scheme: scheme.into() }
    }

    /// Returns a parameter of the query string, without a prefix.
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self::Query { name: name.into(), prefix: String::new() }
    }

    /// Returns the members `access_token` and `refresh_token` of a JSON body.
    #[must_use]
    pub fn json_body() -> Self {
        Self::JsonBody { access: "access_token".to_owned(), refresh: "refresh_token".to_owned() }
    }
}

/// The places of some routes, in place of the guard's; see [`only_in`].
#[derive(Debug, Clone)]
pub struct Locations(pub(crate) Vec<Location>);

/// Returns a layer that sets the places of tokens for some routes, in place of the guard's.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::session::Sessions;
/// # use adieu_axum::{AccessToken, Location, only_in};
/// # use axum::{Router, routing::get};
/// # async fn download(token: AccessToken) {}
/// # fn router() -> Router<Arc<Sessions>> {
/// Router::new().route("/download", get(download)).layer(only_in([Location::query("token"), Location::bearer()]))
/// # }
/// ```
pub fn only_in(locations: impl IntoIterator<Item = Location>) -> Extension<Locations> {
    Extension(Locations(locations.into_iter().collect()))
}
