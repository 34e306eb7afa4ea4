//! Aliases of the users of trusted issuers.

use std::fmt;

use adieu::{Issuer, Subject};
use adieu_axum::AfterBody;
use adieu_events::{Alias, AliasKind};
use axum::{
    Json,
    extract::State,
    http::{HeaderName, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    client::{Admin, Client},
    docs,
    revocation::Revoker,
    view::{PartFields, id},
};
use crate::{
    aliases::{self, AliasFilter, KnownAlias, Named, Removal},
    audit::{self, Event},
    error::{ApiError, FieldErrors},
    input::{Field, Fields, Query},
    text::TextError,
};

/// An alias of a user, and how events name the user by it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"issuer": "https://login.example", "subject": "00uhnd7ulvYXQSbg60h7", "format": "email", "value": "jose@example.com"}))]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct NewAlias {
    /// A `trusted_issuer` of the settings.
    #[schema(min_length = 1, max_length = 512)]
    issuer: String,
    /// The `sub` of the user's tokens.
    #[schema(min_length = 1, max_length = 512)]
    subject: String,
    /// The format of the subject identifiers in events (RFC 9493).
    format: Format,
    /// The e-mail address, phone number, `acct` URI, DID or URI.
    #[schema(min_length = 1, max_length = 512)]
    value: String,
}

/// Which aliases to remove: of the issuer, those with this `format` and `value`, of this `subject`, or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"issuer": "https://login.example", "subject": "00uhnd7ulvYXQSbg60h7"}))]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct RemovedAliases {
    #[schema(min_length = 1, max_length = 512)]
    issuer: String,
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    subject: Option<String>,
    #[schema(nullable = false)]
    format: Option<Format>,
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    value: Option<String>,
}

/// The format of a subject identifier.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Email,
    PhoneNumber,
    Account,
    Did,
    Uri,
}

/// An alias and one of its subjects.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasDetails {
    #[schema(example = "https://login.example")]
    issuer: String,
    #[schema(example = "00uhnd7ulvYXQSbg60h7")]
    subject: String,
    #[schema(example = "email")]
    format: &'static str,
    #[schema(example = "jose@example.com")]
    value: String,
    /// When it was last added or seen in a token; behind by up to a day.
    #[schema(example = 1_800_000_000)]
    seen_at: u64,
}

impl From<&KnownAlias> for AliasDetails {
    fn from(KnownAlias { named: Named { issuer, alias, subject }, seen_at }: &KnownAlias) -> Self {
        Self {
            issuer: issuer.to_string(),
            subject: subject.to_string(),
            format: alias.kind().as_str(),
            value: alias.value().to_owned(),
            seen_at: seen_at.as_unix(),
        }
    }
}

/// A part of the aliases.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasList {
    aliases: Vec<AliasDetails>,
    /// What to send as `after` to get the next ones; null when there are none.
    next: Option<String>,
}

/// That an alias was added.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasAdded {
    #[schema(example = "Alias added.")]
    message: &'static str,
}

/// How many aliases were removed.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasesRemoved {
    #[schema(example = "Aliases removed.")]
    message: &'static str,
    #[schema(example = 1)]
    removed: u64,
}

/// Which aliases to list: those that meet every condition.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct AliasParameters {
    /// Only those of this issuer.
    #[param(min_length = 1, max_length = 512)]
    issuer: Option<String>,
    /// Only those of this subject.
    #[param(min_length = 1, max_length = 512)]
    subject: Option<String>,
}

/// The position of an alias in the list, as text for a query: its parts in base64url, joined by dots.
pub(super) struct AliasCursor(pub(super) Named);

impl fmt::Display for AliasCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named { issuer, alias, subject } = &self.0;
        let [issuer, value, subject] =
            [issuer.as_str(), alias.value(), subject.as_str()].map(|text| URL_SAFE_NO_PAD.encode(text));
        write!(formatter, "{issuer}.{}.{value}.{subject}", alias.kind())
    }
}

impl TryFrom<String> for AliasCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let decode = |text: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        let named = || {
            let parts: Vec<_> = text.split('.').collect();
            let [issuer, kind, value, subject] = parts.as_slice() else { return None };
            let alias = Alias::new(kind.parse().ok()?, &decode(value)?).ok()?;
            let (issuer, subject) = (Issuer::new(decode(issuer)?).ok()?, Subject::new(decode(subject)?).ok()?);
            Some(Self(Named { issuer, alias, subject }))
        };
        named().ok_or("Must be `next` of the part before.")
    }
}

/// Lists the aliases by which events name users, by issuer, format and value.
///
/// `next` contains the last alias in base64url. As `after` it is part of the URL, so it is in the logs of proxies that keep queries.
#[utoipa::path(get, path = "/aliases", tag = "Administration", security(("access" = [])),
    params(AliasParameters, docs::PartParameters), responses(
    (status = 200, description = "The aliases.", body = AliasList),
    docs::TwoTokens, docs::Refusals, docs::AdminOnly, docs::InvalidQuery, docs::Unavailable,
))]
pub(super) async fn list_aliases(
    State(api): State<Api>,
    _: Admin,
    Query(mut fields): Query,
) -> Result<([(HeaderName, &'static str); 1], Json<AliasList>), ApiError> {
    let part = PartFields::<AliasCursor>::take(&mut fields);
    let (issuer, subject) = (fields.optional("issuer", id::<Issuer>), fields.optional("subject", id::<Subject>));
    let (part, (issuer, subject)) = part.finish_with(fields, (issuer, subject))?;
    let filter = AliasFilter { issuer, subject, alias: None };
    let after = part.after.as_ref().map(|AliasCursor(named)| named);
    let mut known = api.node.aliases.store().aliases(&filter, after, part.fetch()).await?;
    let next = part.cut(&mut known, |known| AliasCursor(known.named.clone()).to_string());
    let aliases = known.iter().map(AliasDetails::from).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(AliasList { aliases, next })))
}

/// Adds an alias: events of the issuer that name a user by it end this subject too.
///
/// For administrators, and for clients that may `revoke`, where it counts as a revocation. An alias that is known is no error. At most 16
/// subjects have the same alias; one more takes the place of the one that was seen the longest ago.
#[utoipa::path(post, path = "/aliases", tag = "Administration", security(("access" = []), ("client" = [])),
    request_body = NewAlias, responses(
    (status = 200, description = "Added, on stable storage.", body = AliasAdded),
    docs::BadRequest, docs::RefusedRevokers, docs::MayNotRevoke, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::QuotaUsedUp, docs::Unavailable,
))]
pub(super) async fn add_alias(
    State(api): State<Api>,
    AfterBody((revoker, client), mut fields): AfterBody<(Revoker, Client), Fields>,
) -> Result<Json<AliasAdded>, ApiError> {
    let (issuer, subject) = (fields.required("issuer", id::<Issuer>), fields.required("subject", id::<Subject>));
    let (kind, value) = (fields.required("format", kind), fields.required("value", Ok));
    let (issuer, subject, kind, value) = fields.finish((issuer, subject, kind, value))?;
    let alias = alias(kind, &value)?;
    api.require_trusted(&issuer)?;
    let adding = api.add_alias(Named { issuer, alias, subject }, by(&revoker), &client);
    revoker.within_quota(&api, 1, adding).await?;
    Ok(Json(AliasAdded { message: "Alias added." }))
}

/// Removes aliases of an issuer: one, those of a subject, or one of a subject.
///
/// For administrators, and for clients that may `revoke`, where it counts as a revocation. They are in the body, because personal data in a
/// URL would be in the logs of proxies. With `alias_claims`, an alias is recorded again if a token has it a day later.
#[utoipa::path(post, path = "/aliases/remove", tag = "Administration", security(("access" = []), ("client" = [])),
    request_body = RemovedAliases, responses(
    (status = 200, description = "Removed, on stable storage.", body = AliasesRemoved),
    docs::BadRequest, docs::RefusedRevokers, docs::MayNotRevoke, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::QuotaUsedUp, docs::Unavailable,
))]
pub(super) async fn remove_aliases(
    State(api): State<Api>,
    AfterBody((revoker, client), mut fields): AfterBody<(Revoker, Client), Fields>,
) -> Result<Json<AliasesRemoved>, ApiError> {
    let (issuer, subject) = (fields.required("issuer", id::<Issuer>), fields.optional("subject", id::<Subject>));
    let (kind, value): (Field<Option<_>>, _) = (fields.optional("format", kind), fields.optional("value", Ok));
    let (issuer, subject, kind, value) = fields.finish((issuer, subject, kind, value))?;
    let which = match (kind, value, subject) {
        (Some(kind), Some(value), subject) => Removal::Alias(alias(kind, &value)?, subject),
        (None, None, Some(subject)) => Removal::Subject(subject),
        _ => return Err(FieldErrors::one("_schema", "Give format and value, or subject, or all of them.").into()),
    };
    let removing = api.remove_aliases(issuer, &which, by(&revoker), &client);
    let removed = revoker.within_quota(&api, 1, removing).await?;
    Ok(Json(AliasesRemoved { message: "Aliases removed.", removed }))
}

impl Api {
    /// # Errors
    /// [`ApiError::Invalid`] if the settings do not trust this issuer.
    pub(super) fn require_trusted(&self, issuer: &Issuer) -> Result<(), ApiError> {
        match self.settings.trusts(issuer.as_str()) {
            true => Ok(()),
            false => Err(FieldErrors::one("issuer", "Not a trusted_issuer of the settings.").into()),
        }
    }

    /// Adds an alias, and records it as done `by` this user or client.
    ///
    /// # Errors
    /// Fails if the store can't be written: then nothing was added.
    pub(super) async fn add_alias(&self, named: Named, by: audit::Entry, client: &Client) -> Result<(), ApiError> {
        let entry = audit::Entry {
            issuer: Some(named.issuer.clone()),
            subject: Some(named.subject.clone()),
            scope: Some(named.alias.kind().as_str()),
            ..by
        };
        aliases::add(self.node.aliases.store(), named, self.node.clock.now()).await?;
        entry.record(Event::AliasAdded, client.address).await;
        Ok(())
    }

    /// Removes aliases of an issuer, and records it as done `by` this user or client. Returns how many.
    ///
    /// # Errors
    /// Fails if the store can't be written: then nothing was removed.
    pub(super) async fn remove_aliases(
        &self,
        issuer: Issuer,
        which: &Removal,
        by: audit::Entry,
        client: &Client,
    ) -> Result<u64, ApiError> {
        let removed = self.node.aliases.remove(&issuer, which).await?;
        let (subject, scope) = match which {
            Removal::Alias(alias, subject) => (subject.clone(), Some(alias.kind().as_str())),
            Removal::Subject(subject) => (Some(subject.clone()), None),
        };
        let entry = audit::Entry { issuer: Some(issuer), subject, scope, ..by };
        entry.record(Event::AliasesRemoved, client.address).await;
        Ok(removed)
    }
}

fn kind(text: String) -> Result<AliasKind, TextError> {
    text.parse().map_err(|_| {
        let all = AliasKind::ALL.map(AliasKind::as_str).join(", ");
        TextError::new(format!("Must be one of: {all}."))
    })
}

fn alias(kind: AliasKind, text: &str) -> Result<Alias, ApiError> {
    Alias::new(kind, text).map_err(|error| FieldErrors::one("value", error).into())
}

/// Returns an audit entry with who acts.
fn by(revoker: &Revoker) -> audit::Entry {
    match revoker {
        Revoker::Admin(admin, _) => audit::Entry::default().by(admin.subject()),
        Revoker::Client(service) => audit::Entry { client: Some(service.name.clone()), ..audit::Entry::default() },
    }
}
