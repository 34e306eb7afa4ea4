//! The OpenAPI document: what it says beside what the handlers say.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, PathItem, Ref, RefOr, Required, Response, ResponseBuilder, Type,
        example::ExampleBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{push_error::PushErrorBody, service::OAuthErrorBody};
use crate::error::ErrorBody;

/// The document without its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Adieu",
        description = "Register, log in, refresh, log out: and a logged-out token stops working.\n\n\
            Times are whole seconds since 1970-01-01T00:00:00Z. Errors have the form \
            `{\"code\":404,\"status\":\"Not Found\"}`, with a `message` or `errors` where there is something to say; a rejected \
            token is answered 401 with a `message` or `description` and an `error`. Unknown routes are answered 404, and methods that are not here 405 with \
            `Allow`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "Account", description = "Users and their own accounts."),
        (name = "Session", description = "Tokens: getting them, checking them, ending them."),
        (name = "Administration", description = "For access tokens with the claim `is_admin`."),
        (name = "Service", description = "For clients, which `adieu client add` makes."),
        (name = "Events", description = "For other issuers, whose logouts end sessions here."),
        (name = "Operation", description = "Health, keys and metadata."),
    ),
    servers((url = "/", description = "This server.")),
    components(schemas(ErrorBody, OAuthErrorBody, PushErrorBody, RefusalBody)),
    modifiers(&Schemes),
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = |description: &str| {
            let scheme = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some(description))
                .build();
            SecurityScheme::Http(scheme)
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("access", scheme("An access token."));
        components.add_security_scheme("issuer", scheme("A JWT of a trusted issuer for the URL of the endpoint."));
        components.add_security_scheme("refresh", scheme("A refresh token."));
        let client = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("The name and the secret of a client, as `adieu client add` printed it."))
            .build();
        components.add_security_scheme("client", SecurityScheme::Http(client));
    }
}

/// Adds what no handler says of itself: the answers that come from around the handlers, and that `/verify` answers to
/// every method.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    let paths = &mut document.paths.paths;
    for operation in paths.values_mut().flat_map(operations) {
        // That a route is for everybody is said, not left open.
        operation.security.get_or_insert_default();
        let responses = &mut operation.responses.responses;
        responses.extend(Fault::responses());
        responses.insert(
            "431".to_owned(),
            Response::new(
                "The head of the request is too long: over 32 KiB, or over what `max_token_bytes` allows, or over 100 header fields.",
            )
            .into(),
        );
        if operation.request_body.is_some() {
            responses.extend(Slow::responses());
        }
    }
    // All its fields are optional, and so is the body.
    let invites = paths.get_mut("/invites").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = invites.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    let Some(verify) = paths.get_mut("/verify") else { return };
    let Some(get) = verify.get.clone() else { return };
    let named = |method: &str| {
        let mut operation = get.clone();
        operation.operation_id = Some(format!("verify_{method}"));
        Some(operation)
    };
    verify.post = named("post");
    verify.put = named("put");
    verify.patch = named("patch");
    verify.delete = named("delete");
    verify.options = named("options");
    verify.trace = named("trace");
    verify.head = named("head");
    // An answer to HEAD has no body (RFC 9110 §9.3.2).
    for response in verify.head.iter_mut().flat_map(|operation| operation.responses.responses.values_mut()) {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten()
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct PartParameters {
    /// Only what comes after the part before: its `next`, as it is.
    #[param(min_length = 1)]
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// Why a token is refused, with a sentence in one of two places.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusalBody {
    /// What a program can tell apart.
    #[schema(
        example = "token_revoked",
        pattern = "^(authorization_required|token_expired|token_not_yet_valid|token_revoked|fresh_token_required|invalid_token)$"
    )]
    error: String,
    #[schema(example = "The token has been revoked.")]
    description: Option<String>,
    message: Option<String>,
}

/// The answers that several routes share, as something to name in `responses(…)`.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident $status:literal $schema:literal $description:literal [$($header:literal),*] {
        $($example:literal => $body:tt),* $(,)? $(..$shared:ident())?
    })+) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let examples = [$(($example, json!($body))),*].into_iter()$(.chain($shared()))?;
                answer($status, $schema, $description, &[$($header),*], examples)
            }
        }
    )+};
}

fn answer(
    status: &str,
    schema: &str,
    description: &str,
    headers: &[&str],
    examples: impl Iterator<Item = (&'static str, Value)>,
) -> BTreeMap<String, RefOr<Response>> {
    let examples = examples.map(|(name, body)| (name, ExampleBuilder::new().value(Some(body)).build()));
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).examples_from_iter(examples).build();
    let mut response = ResponseBuilder::new().description(description).content("application/json", content);
    for header in headers {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        response = response.header(*header, HeaderBuilder::new().schema(Some(text)).build());
    }
    BTreeMap::from([(status.to_owned(), response.build().into())])
}

/// The bodies that reject a token.
fn rejections() -> [(&'static str, Value); 5] {
    let body = |member: &str, text: &str, error: &str| json!({member: text, "error": error});
    [
        ("revoked", body("description", "The token has been revoked.", "token_revoked")),
        ("expired", body("message", "The token has expired.", "token_expired")),
        ("not valid yet", body("message", "The token is not valid yet.", "token_not_yet_valid")),
        ("not valid, or of the wrong type", body("message", "Signature verification failed.", "invalid_token")),
        ("no token", body("description", "Request does not contain an access token.", "authorization_required")),
    ]
}

answers! {
    BadRequest "400" "ErrorBody" "The body is not JSON, or there is more than one Authorization header." [] {
        "not JSON" => {"code": 400, "errors": {"json": ["Invalid JSON body."]}, "message": "EOF while parsing an object at line 1 column 1", "status": "Bad Request"},
        "two tokens" => {"code": 400, "message": "Send one Authorization header only.", "status": "Bad Request"},
    }
    BadForm "400" "OAuthErrorBody" "The request is invalid: a parameter is missing, wrong or repeated, the body is not a form, or there is more than one Authorization header." [] {
        "missing" => {"error": "invalid_request", "error_description": "The parameter token is missing."},
    }
    WrongSubject "400" "ErrorBody" "The body is not JSON, its subject identifier is not valid or of an unknown format, or there is more than one Authorization header." ["WWW-Authenticate"] {
        "not valid" => {"code": 400, "message": "the format of the subject identifier is not supported.", "status": "Bad Request"},
    }
    MayNotRevokeGlobally "403" "ErrorBody" "The issuer may not send such requests." [] {
        "not allowed" => {"code": 403, "message": "This issuer may not revoke the tokens of its users.", "status": "Forbidden"},
    }
    UnknownSubject "404" "ErrorBody" "The subject identifier is of another issuer, of a format that is not in tokens, or an alias that is not known." [] {
        "unknown" => {"code": 404, "status": "Not Found"},
    }
    NotAUser "422" "ErrorBody" "The subject is not a user, but a session or a token for example." [] {
        "a session" => {"code": 422, "errors": {"json": {"sub_id": ["Not a user."]}}, "status": "Unprocessable Entity"},
    }
    WrongWebhook "400" "ErrorBody" "The message is not authentic or not recent, or the body is not a JSON object." [] {
        "not authentic" => {"code": 400, "message": "the signature is wrong.", "status": "Bad Request"},
    }
    UnknownWebhook "404" "ErrorBody" "There is no webhook of this name in the settings." [] {
        "unknown" => {"code": 404, "status": "Not Found"},
    }
    WrongEvent "400" "PushErrorBody" "The security event token is rejected, or the body is not one." ["Content-Language"] {
        "rejected" => {"err": "authentication_failed", "description": "the token's signature is wrong"},
    }
    WrongLogout "400" "OAuthErrorBody" "The logout token is missing or rejected, or the body is not a form." [] {
        "rejected" => {"error": "invalid_request", "error_description": "the token's signature is wrong"},
    }
    TwoTokens "400" "ErrorBody" "There is more than one Authorization header, or the query can't be read." ["WWW-Authenticate"] {
        "two tokens" => {"code": 400, "message": "Send one Authorization header only.", "status": "Bad Request"},
    }
    Refusals "401" "RefusalBody" "The token is missing or rejected." ["WWW-Authenticate"] {
        ..rejections()
    }
    FreshRefusals "401" "RefusalBody" "The token is missing, rejected or not fresh." ["WWW-Authenticate"] {
        "not fresh" => {"description": "The token is not fresh.", "error": "fresh_token_required"},
        ..rejections()
    }
    WrongCredentials "401" "ErrorBody" "There is no such user with this password." ["WWW-Authenticate"] {
        "wrong" => {"code": 401, "message": "Invalid credentials.", "status": "Unauthorized"},
    }
    AdminOnly "403" "ErrorBody" "The token is not an administrator's." ["WWW-Authenticate"] {
        "not an administrator" => {"code": 403, "message": "Admin privilege required.", "status": "Forbidden"},
    }
    WrongClient "401" "ErrorBody" "There is no such client with this secret, or there are no credentials." ["WWW-Authenticate"] {
        "wrong" => {"code": 401, "message": "Invalid client credentials.", "status": "Unauthorized"},
    }
    WrongOAuthClient "401" "OAuthErrorBody" "There is no such client with this secret, or credentials are needed and missing." ["WWW-Authenticate"] {
        "wrong" => {"error": "invalid_client", "error_description": "Invalid client credentials."},
        "no certificate" => {"error": "invalid_client", "error_description": "A client certificate is required."},
    }
    MayNotIntrospect "403" "OAuthErrorBody" "The client may not introspect." [] {
        "not allowed" => {"error": "unauthorized_client", "error_description": "This client may not introspect."},
    }
    NotWhatIsWanted "403" "ErrorBody" "The token is valid but not sufficient." ["WWW-Authenticate"] {
        "not an administrator" => {"code": 403, "message": "Admin privilege required.", "status": "Forbidden"},
        "without the claim" => {"code": 403, "message": "The token lacks a claim that is required here.", "status": "Forbidden"},
        "without the scope" => {"code": 403, "message": "The token lacks a scope that is required here.", "status": "Forbidden"},
    }
    RefusedRevokers "401" "RefusalBody" "The token is missing or rejected, or there is no such client with this secret, which is answered as in `/introspect`." ["WWW-Authenticate"] {
        ..rejections()
    }
    MayNotRevoke "403" "ErrorBody" "The token is not an administrator's, the client may not revoke or has no certificate, or it would revoke everything or a key." ["WWW-Authenticate"] {
        "not an administrator" => {"code": 403, "message": "Admin privilege required.", "status": "Forbidden"},
        "not allowed" => {"code": 403, "message": "This client may not revoke.", "status": "Forbidden"},
        "everything" => {"code": 403, "error": "administrators_only", "message": "Only administrators may revoke everything.", "status": "Forbidden"},
        "no certificate" => {"code": 403, "message": "A client certificate is required.", "status": "Forbidden"},
    }
    MayNotReset "403" "ErrorBody" "The client may not reset passwords, or has no certificate." [] {
        "not allowed" => {"code": 403, "message": "This client may not reset-password.", "status": "Forbidden"},
        "no certificate" => {"code": 403, "message": "A client certificate is required.", "status": "Forbidden"},
    }
    MayNotFollow "403" "ErrorBody" "The client may not follow, or has no certificate." [] {
        "not allowed" => {"code": 403, "message": "This client may not follow.", "status": "Forbidden"},
        "no certificate" => {"code": 403, "message": "A client certificate is required.", "status": "Forbidden"},
    }
    RegistrationClosed "403" "ErrorBody" "Registration is closed, or needs an invitation." [] {
        "closed" => {"code": 403, "message": "Registration is closed.", "status": "Forbidden"},
        "no valid invitation" => {"code": 403, "message": "Registration needs an invitation that is valid.", "status": "Forbidden"},
    }
    NotFound "404" "ErrorBody" "Not found, or not visible to the caller." [] {
        "not found" => {"code": 404, "status": "Not Found"},
    }
    NameTaken "409" "ErrorBody" "The name is taken." [] {
        "taken" => {"code": 409, "message": "A user with that username already exists.", "status": "Conflict"},
    }
    TooManyInvites "409" "ErrorBody" "There are too many invitations." [] {
        "too many" => {"code": 409, "message": "There are too many invitations; revoke some.", "status": "Conflict"},
    }
    NotDeleted "409" "ErrorBody" "It is the caller's own account, and an administrator's, or that of the last administrator." [] {
        "own account" => {"code": 409, "message": "You can't delete yourself.", "status": "Conflict"},
        "last administrator" => {"code": 409, "message": "This is the last administrator.", "status": "Conflict"},
    }
    NotDisabled "409" "ErrorBody" "It is the caller's own account, or that of the last administrator." [] {
        "own account" => {"code": 409, "message": "You can't disable yourself.", "status": "Conflict"},
        "last administrator" => {"code": 409, "message": "This is the last administrator.", "status": "Conflict"},
    }
    NotDemoted "409" "ErrorBody" "It is the last administrator." [] {
        "last administrator" => {"code": 409, "message": "This is the last administrator.", "status": "Conflict"},
    }
    NotBlocking "409" "ErrorBody" "This message does not block the receiver. Nothing was skipped." [] {
        "another message" => {"code": 409, "message": "This message does not block the receiver.", "status": "Conflict"},
    }
    PasswordChangeRequired "403" "ErrorBody" "The password is right, but must be changed first." [] {
        "change required" => {"code": 403, "error": "password_change_required", "message": "Change the password with POST /password/change, then log in.", "status": "Forbidden"},
    }
    Slow "408" "ErrorBody" "The body did not come in time." [] {
        "too slow" => {"code": 408, "status": "Request Timeout"},
    }
    TooLarge "413" "ErrorBody" "The body is too long." [] {
        "too long" => {"code": 413, "status": "Payload Too Large"},
    }
    NotJson "415" "ErrorBody" "The body is not labelled as JSON." [] {
        "not labelled" => {"code": 415, "message": "Send the body as application/json.", "status": "Unsupported Media Type"},
    }
    Invalid "422" "ErrorBody" "Fields are missing, unknown or wrong." [] {
        "missing" => {"code": 422, "errors": {"json": {"password": ["Missing data for required field."]}}, "status": "Unprocessable Entity"},
    }
    InvalidQuery "422" "ErrorBody" "Fields of the query are unknown or wrong." [] {
        "unknown" => {"code": 422, "errors": {"query": {"scop": ["Unknown field."]}}, "status": "Unprocessable Entity"},
    }
    TooMany "429" "ErrorBody" "Too many failed logins, or too many registrations." ["Retry-After"] {
        "too many" => {"code": 429, "message": "Too many attempts. Try again later.", "status": "Too Many Requests"},
    }
    QuotaUsedUp "429" "ErrorBody" "The client has revoked as much as it may for now." ["Retry-After"] {
        "used up" => {"code": 429, "message": "This client has used up its quota of revocations. Try again later.", "status": "Too Many Requests"},
    }
    ResetQuotaUsedUp "429" "ErrorBody" "The client has issued as many tokens as it may for now." ["Retry-After"] {
        "used up" => {"code": 429, "message": "This client has used up its quota of reset tokens. Try again later.", "status": "Too Many Requests"},
    }
    TooManyEvents "429" "ErrorBody" "This address or this issuer has sent too many events." ["Retry-After"] {
        "too many" => {"code": 429, "message": "Too many events. Try again later.", "status": "Too Many Requests"},
    }
    TooManyFollowers "429" "ErrorBody" "The client has too many followers, or too many requests that wait." ["Retry-After"] {
        "too many" => {"code": 429, "message": "This client has too many followers. Try again later.", "status": "Too Many Requests"},
    }
    TooManyStreams "429" "ErrorBody" "The user has too many streams." ["Retry-After"] {
        "too many" => {"code": 429, "message": "This user has too many streams of events. Try again later.", "status": "Too Many Requests"},
    }
    Fault "500" "ErrorBody" "Internal error; the log has the cause." [] {
        "fault" => {"code": 500, "status": "Internal Server Error"},
    }
    Unavailable "503" "ErrorBody" "Nothing was promised, because the store can't be written just now or takes too long, or it is not known whether the token has been revoked." ["Retry-After"] {
        "store" => {"code": 503, "message": "Temporarily unavailable. Try again.", "status": "Service Unavailable"},
        "not up to date" => {"code": 503, "message": "Whether the token has been revoked is not known just now. Try again.", "status": "Service Unavailable"},
    }
    NotReady "503" "Readiness" "The node is not ready; `message` has the reason." ["Retry-After"] {
        "not up to date" => {"code": 503, "message": "The revocations known here are not up to date.", "status": "Service Unavailable", "ready": false, "accounts_available": true, "revocations": {"stale": true, "staleness_ms": 7000, "max_staleness_ms": 2000, "stale_policy": "reject", "entries": 3}},
        "store" => {"code": 503, "message": "The store can't be read and written.", "status": "Service Unavailable", "ready": false, "accounts_available": true, "revocations": {"stale": false, "staleness_ms": 120, "max_staleness_ms": 2000, "stale_policy": "reject", "entries": 3}},
    }
}
