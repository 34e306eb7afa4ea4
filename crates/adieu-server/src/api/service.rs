//! Services as callers: who they are, and what they may do.

use std::{marker::PhantomData, sync::Arc};

use adieu_axum::{Place, Reason, Refused};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    clients::{Capability, Client, ClientError, Clients},
    error::ApiError,
};

/// The standard alphabet, with or without the padding, which some clients leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A client that sends its name and secret as Basic credentials (RFC 7617), whatever it may do. A handler that takes
/// [`Can`] says what it must be allowed to.
#[derive(Debug, Clone)]
pub(super) struct Service(pub(super) Arc<Client>);

/// A client that may do `C`, such as `Can<Introspect>`.
#[derive(Debug, Clone)]
pub(super) struct Can<C> {
    /// Who it is.
    pub(super) client: Arc<Client>,
    what: PhantomData<C>,
}

/// A capability as a type.
pub(super) trait Needed: Send + Sync {
    /// Which.
    const CAPABILITY: Capability;
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[allow(dead_code, reason = "a capability may be asked for by name only")]
        pub(super) enum $name {}

        impl Needed for $name {
            const CAPABILITY: Capability = Capability::$name;
        }
    )+};
}

capabilities! {
    /// See [`Capability::Follow`].
    Follow
    /// See [`Capability::Revoke`].
    Revoke
    /// See [`Capability::Introspect`].
    Introspect
}

impl Service {
    /// Passes on a client that may do this.
    pub(super) fn require(self, capability: Capability) -> Result<Arc<Client>, ApiError> {
        if self.0.can(capability) { Ok(self.0) } else { Err(ApiError::ClientMayNot(capability)) }
    }
}

impl<S: Sync> FromRequestParts<S> for Service
where
    Clients: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (name, secret) = basic(&parts.headers)?.ok_or(ApiError::InvalidClient)?;
        Ok(Self(Clients::from_ref(state).authenticate(&name, &secret).await?))
    }
}

impl<S: Sync, C: Needed> FromRequestParts<S> for Can<C>
where
    Clients: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let client = Service::from_request_parts(parts, state).await?.require(C::CAPABILITY)?;
        Ok(Self { client, what: PhantomData })
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Wrong => Self::InvalidClient,
            ClientError::Failed(error) => error.into(),
        }
    }
}

/// The name and the secret in these headers; none when there are no Basic credentials, or none that can be read.
///
/// # Errors
/// When there is more than one `Authorization` header.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refused> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Reason::Ambiguous(Place::Header).into());
    }
    Ok(value.to_str().ok().and_then(|value| {
        let (scheme, credentials) = value.trim().split_once(' ')?;
        let decoded = BASE64.decode(credentials.trim_start()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let (name, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some((name.to_owned(), secret.to_owned()))
    }))
}

/// Whether a request comes with Basic credentials, good or not.
pub(super) fn is_basic(headers: &HeaderMap) -> bool {
    let scheme =
        |value: &[u8]| value.trim_ascii_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"));
    headers.get_all(header::AUTHORIZATION).iter().any(|value| scheme(value.as_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(value: &'static str) -> Option<(String, String)> {
        let headers = [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
        basic(&headers).unwrap()
    }

    #[test]
    fn credentials_are_read_as_rfc_7617_writes_them() {
        let aladdin = Some(("Aladdin".to_owned(), "open sesame".to_owned()));
        for value in [
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "BASIC QWxhZGRpbjpvcGVuIHNlc2FtZQ",
        ] {
            assert_eq!(read(value), aladdin, "{value}");
        }
        assert_eq!(read("Basic YTpiOmM="), Some(("a".to_owned(), "b:c".to_owned())), "a secret may have a colon");
        for value in ["", "Basic", "Basic ", "Basic !!!!", "Basic YQ==", "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn of_two_headers_nobody_knows_which_is_meant() {
        let value = HeaderValue::from_static("Basic YTpi");
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, value.clone());
        headers.append(header::AUTHORIZATION, value);
        assert!(matches!(basic(&headers).unwrap_err().reason(), Reason::Ambiguous(_)));
    }
}
