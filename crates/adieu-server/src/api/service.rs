//! Authenticates clients and checks their capabilities.

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use adieu_axum::{AuthRejection, Place, RejectionReason};
use axum::{
    Json,
    extract::{FromRef, FromRequest as _, FromRequestParts, Request},
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clients::{Capability, Client, ClientError, Clients},
    error::ApiError,
    input::Form,
    listen::LacksCertificate,
};

/// The standard alphabet, with or without padding, which some clients leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A client authenticated with its name and secret as Basic credentials (RFC 7617, form-encoded as in RFC 6749 §2.3.1
/// or not), whatever its capabilities. A handler that requires a capability takes [`Can`].
#[derive(Debug, Clone)]
pub(super) struct Service(pub(super) Arc<Client>);

/// A client that has the capability `C`, such as `Can<Introspect>`.
#[derive(Debug, Clone)]
pub(super) struct Can<C> {
    /// The client.
    pub(super) client: Arc<Client>,
    what: PhantomData<C>,
}

/// A capability as a type.
pub(super) trait Needed: Send + Sync {
    /// The capability.
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
    /// See [`Capability::ResetPassword`].
    ResetPassword
}

impl Service {
    /// Returns the client if it has this capability.
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
        require_certificate(&parts.extensions)?;
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

/// Requires a certificate of a client, if the connection was asked for one: before its secret is looked at, so that a stolen one cannot be
/// tried either.
fn require_certificate(extensions: &Extensions) -> Result<(), ApiError> {
    match extensions.get() {
        Some(LacksCertificate) => Err(ApiError::CertificateRequired),
        None => Ok(()),
    }
}

/// Reads a form about one token (RFC 7009 §2.1, RFC 7662 §2.1). Returns the client, if there are credentials, and the token.
///
/// The credentials are Basic, or in the form as `client_id` and `client_secret` (RFC 6749 §2.3.1); they are checked after the body has
/// been read. `needed` are the capabilities of which the client must have one; if it is empty, no client is needed. Whatever else is in
/// the form is ignored, such as `token_type_hint`.
pub(super) async fn read_token_form<S>(
    request: Request,
    state: &S,
    needed: &[Capability],
) -> Result<(Option<Arc<Client>>, String), OAuthError>
where
    S: Send + Sync,
    Clients: FromRef<S>,
{
    let clients = Clients::from_ref(state);
    let certified = require_certificate(request.extensions());
    let authenticate = async |name: &str, secret: &str| {
        if certified.is_err() {
            return Err(ApiError::CertificateRequired);
        }
        let client = clients.authenticate(name, secret).await?;
        let lacks = needed.first().filter(|_| !needed.iter().any(|capability| client.can(*capability)));
        lacks.map_or(Ok(client), |capability| Err(ApiError::ClientMayNot(*capability)))
    };
    let in_header = basic(request.headers()).map_err(ApiError::from)?;
    // A request with an Authorization header is rejected before anything is read.
    if request.headers().contains_key(header::AUTHORIZATION) {
        let (name, secret) = in_header.as_ref().ok_or(ApiError::InvalidClient)?;
        authenticate(name, secret).await?;
    }
    let Form(mut form) = Form::from_request(request, state).await?;
    // A parameter without a value counts as omitted (RFC 6749 §3.2).
    let mut take = |name| Ok::<_, ApiError>(form.take(name)?.filter(|value| !value.is_empty()));
    let credentials = match (in_header, (take("client_id")?, take("client_secret")?)) {
        (Some(_), (_, Some(_))) => return Err(OAuthError::Request("Send the client's credentials once.".into())),
        (Some((name, _)), (Some(id), None)) if id != name => {
            return Err(OAuthError::Request("The client_id is not that of the Authorization header.".into()));
        }
        (Some(credentials), _) => Some(credentials),
        (None, (Some(name), Some(secret))) => Some((name, secret)),
        (None, (_, None)) if needed.is_empty() => None,
        (None, _) => return Err(ApiError::InvalidClient.into()),
    };
    let client = match credentials {
        Some((name, secret)) => Some(authenticate(&name, &secret).await?),
        None => None,
    };
    let token = take("token")?.ok_or(OAuthError::Request("The parameter token is missing.".into()))?;
    Ok((client, token))
}

/// The error response to a client, in the format of RFC 6749 §5.2.
#[derive(Debug)]
pub(super) enum OAuthError {
    /// The request makes no sense; with a sentence that says why.
    Request(Cow<'static, str>),
    /// Anything else, of which some has a word of its own there.
    Other(ApiError),
}

/// Why a request of a client was not answered (RFC 6749 §5.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OAuthErrorBody {
    /// What a program can tell apart.
    #[schema(example = "invalid_client", pattern = "^(invalid_request|invalid_client|unauthorized_client)$")]
    error: &'static str,
    #[schema(example = "Invalid client credentials.")]
    error_description: Cow<'static, str>,
}

impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(_) => Self::Request("Send one Authorization header only.".into()),
            ApiError::BadRequest(message) => Self::Request(message),
            ApiError::UnsupportedMediaType(label) => Self::Request(format!("Send the body as {label}.").into()),
            ApiError::RepeatedParameter(name) => Self::Request(format!("Duplicate parameter {name}.").into()),
            other => Self::Other(other),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error, error_description) = match self {
            Self::Request(description) => (StatusCode::BAD_REQUEST, "invalid_request", description),
            Self::Other(ApiError::InvalidClient) => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "Invalid client credentials.".into())
            }
            Self::Other(ApiError::CertificateRequired) => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "A client certificate is required.".into())
            }
            Self::Other(ApiError::ClientMayNot(capability)) => {
                (StatusCode::FORBIDDEN, "unauthorized_client", format!("This client may not {capability}.").into())
            }
            Self::Other(error) => return error.into_response(),
        };
        let body = Json(OAuthErrorBody { error, error_description });
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(r#"Basic realm="adieu""#);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The name and the secret in these headers; none when there are no Basic credentials, or none that can be read.
///
/// # Errors
/// When there is more than one `Authorization` header.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, AuthRejection> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(RejectionReason::Ambiguous(Place::Header).into());
    }
    Ok(value.to_str().ok().and_then(|value| {
        let (scheme, credentials) = value.trim().split_once(' ')?;
        let decoded = BASE64.decode(credentials.trim_start()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let (name, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some((form_decoded(name), form_decoded(secret)))
    }))
}

/// What a client has form-encoded, as RFC 6749 §2.3.1 says. In our names and secrets nothing is changed by that, so one that
/// sends them as they are is understood as well.
fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
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
        // RFC 6749 §2.3.1: "shop.1:a-b_c" with all that may be encoded, and with all that must be.
        let shop = Some(("shop.1".to_owned(), "a-b_c".to_owned()));
        for value in ["Basic c2hvcCUyRTE6YSUyRGIlNUZj", "Basic c2hvcC4xOmEtYl9j"] {
            assert_eq!(read(value), shop, "{value}");
        }
        assert_eq!(read("Basic YTpiK2MlMjVk"), Some(("a".to_owned(), "b c%d".to_owned())));
        assert_eq!(read("Basic YTpiJWZm"), Some(("a".to_owned(), "b%ff".to_owned())), "not encoded");
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
        assert!(matches!(basic(&headers).unwrap_err().reason(), RejectionReason::Ambiguous(_)));
    }
}
