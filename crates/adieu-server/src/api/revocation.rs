//! Revokes tokens: by their ids, by session, subject, key or claim, or all of them.

use std::{sync::Arc, time::Duration};

use adieu::{
    IdError, Issuer, SessionId, Subject, TokenId,
    revocation::RevokedClaim,
    session::{RevocationRequest, RevocationTarget},
    time::Timestamp,
    token::{KeyId, TokenError},
};
use adieu_axum::{AfterBody, PresentedToken};
use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, request::Parts},
    response::{AppendHeaders, IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{
    Api,
    client::{AccessToken, Admin, Client},
    docs,
    feed::{self, Wait, WaitParameters},
    service::{Can, Revoke, is_basic},
    view::id,
};
use crate::{
    audit::{self, Event},
    clients,
    config::MAX_SESSION,
    error::{ApiError, FieldErrors},
    feed::Everywhere,
    hang_up::for_the_response,
    input::Fields,
    limit::RetryAfter,
    text::TextError,
};

/// How many targets one request may have.
const MAX_ITEMS: usize = 500;

/// What to revoke: exactly one of `token`, `token_id`, `session`, `subject`, `claim`, `key` and `everything`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"session": "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22"}))]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct RevocationItem {
    /// A token of this server: an access token alone, or a refresh token with its whole session. It may have expired.
    #[schema(nullable = false)]
    token: Option<String>,
    /// The `jti` of a token.
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    token_id: Option<String>,
    /// Beside `token_id`: the `exp` of that token, to the second, for it is looked up by that. With another one it may not be found,
    /// or only just. When in doubt give `keep_until` instead, with which the token is revoked whatever its `exp` is.
    #[schema(nullable = false)]
    expires_at: Option<u64>,
    /// Beside `token_id` without `expires_at`, beside `session`, and beside another `issuer`: when the last token that this is
    /// about will have expired. Left out: the revocation is kept as long as any token of this server lives. For a session
    /// that was begun here it does not matter.
    #[schema(nullable = false)]
    keep_until: Option<u64>,
    /// The `sid` of a session.
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    session: Option<String>,
    /// The `sub` of a subject: all its sessions, and all its tokens issued until now.
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    subject: Option<String>,
    /// All tokens issued until now that have this claim. Sessions go on, with tokens issued later.
    #[schema(nullable = false)]
    claim: Option<ClaimItem>,
    /// The `kid` of a key: all tokens that it has signed and ever will, also future ones; this is kept for ever. For a key of another issuer; one of
    /// this server's is removed with `adieu key remove`. For administrators only.
    #[schema(min_length = 1, max_length = 256, nullable = false)]
    key: Option<String>,
    /// `true`: all sessions of everybody, and whatever was issued until now, the caller's own token included. For
    /// administrators only.
    #[schema(nullable = false)]
    everything: Option<bool>,
    /// Whose tokens they are: the `iss`. Left out: this server's. With another one there are no sessions here to end.
    #[schema(min_length = 1, max_length = 512, nullable = false)]
    issuer: Option<String>,
}

/// A claim and its value. A token has it if its claim is that text; a boolean, or an integer within ±(2⁵³ − 1), with that text (`true`, `-5`); or
/// a list with such an element. No value matches other numbers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "tenant", "value": "acme"}))]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct ClaimItem {
    /// One of the `revocable_claims` of the issuer in the settings.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// The value, as text; with the name at most 511 bytes.
    #[schema(min_length = 1, max_length = 510)]
    value: String,
}

/// One thing to revoke, or several in one step.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!({"revocations": [{"token_id": "4b4c6f3e-0f7b-4a2e-9d0a-0f3b9f1f3c55"}, {"subject": "jose", "issuer": "https://other.example"}]}))]
#[expect(dead_code, reason = "only describes the schema")]
#[schema(as = RevocationRequest)]
pub(super) enum RevocationBody {
    One(Box<RevocationItem>),
    Several(RevocationItems),
}

/// Several things to revoke: none of them is revoked unless all are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct RevocationItems {
    #[schema(min_items = 1, max_items = 500)]
    revocations: Vec<RevocationItem>,
}

/// What was revoked.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    #[schema(example = "Revoked.")]
    message: &'static str,
    /// How many sessions ended by it.
    #[schema(example = 1)]
    sessions_ended: usize,
    /// Of an administrator: whether the caller's own token has been revoked by it: then log in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_token_revoked: Option<bool>,
    /// With `?wait=everywhere`: whom that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    everywhere: Option<Everywhere>,
}

/// The caller that revokes.
pub(super) enum Revoker {
    Admin(AccessToken, PresentedToken),
    Client(Arc<clients::Client>),
}

impl FromRequestParts<Api> for Revoker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        if is_basic(&parts.headers) {
            let Can { client, .. } = Can::<Revoke>::from_request_parts(parts, api).await?;
            return Ok(Self::Client(client));
        }
        let Admin(admin) = Admin::from_request_parts(parts, api).await?;
        let token = <PresentedToken as FromRequestParts<Api>>::from_request_parts(parts, api).await?;
        Ok(Self::Admin(admin, token))
    }
}

impl Revoker {
    /// Runs an action that counts as `number` revocations against the quota of a client. If it fails, it counts as none.
    ///
    /// # Errors
    /// [`ApiError::QuotaUsedUp`], or that the quota never allows so many, before anything is done; or that of the action.
    pub(super) async fn within_quota<T>(
        &self,
        api: &Api,
        number: usize,
        action: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Self::Client(service) = self else { return action.await };
        let (quota, _) = service.limits.or_else(&api.settings);
        if number > usize::try_from(quota.burst).unwrap_or(usize::MAX) {
            let message = format!("At most {} at once, which is the client's quota.", quota.burst);
            return Err(FieldErrors::one("revocations", message).into());
        }
        let taken = api.node.quotas.take(&service.name, quota, number);
        let taken = taken.map_err(|RetryAfter(retry_after)| ApiError::QuotaUsedUp { retry_after })?;
        taken.unless_failed(action.await)
    }
}

/// One target to revoke, and its audit entry.
pub(super) struct Item {
    request: RevocationRequest,
    entry: audit::Entry,
}

impl Item {
    /// Returns the item for a target of this server, or of another issuer.
    ///
    /// # Errors
    /// The field that is wrong: a claim that is not one of the settings, or a key that signs.
    pub(super) fn new(target: RevocationTarget, issuer: Option<Issuer>, api: &Api) -> Result<Self, ApiError> {
        let own = api.node.sessions.issuer();
        let foreign = issuer.clone().filter(|issuer| issuer != own);
        let scope = |scope| audit::Entry { scope: Some(scope), issuer: foreign.clone(), ..audit::Entry::default() };
        let entry = match &target {
            RevocationTarget::Token { id, .. } => audit::Entry { token_id: Some(id.clone()), ..scope("token_id") },
            RevocationTarget::Session(id) => audit::Entry { session: Some(id.clone()), ..scope("session") },
            RevocationTarget::Subject(id) => audit::Entry { subject: Some(id.clone()), ..scope("subject") },
            RevocationTarget::Claim(claim) => {
                let issuer = issuer.as_ref().unwrap_or(own);
                if !api.settings.revocable_claims(issuer.as_str()).contains(claim.name()) {
                    return Err(wrong("claim", "Not one of the revocable_claims of its issuer in the settings."));
                }
                audit::Entry { claim: Some(claim.clone()), ..scope("claim") }
            }
            RevocationTarget::Key(id) => {
                let keys = api.node.core.signing_keys();
                if foreign.is_none() && keys.iter().any(|own| own.verifying_key().key_id() == Some(id)) {
                    // Revoked but not removed, it would go on signing tokens that are rejected.
                    return Err(wrong("key", "A key of this server: remove it with `adieu key remove`."));
                }
                audit::Entry { key_id: Some(id.to_string()), ..scope("key") }
            }
            _ => scope("everything"),
        };
        let mut request = RevocationRequest::new(target);
        request.issuer = issuer;
        Ok(Self { request, entry })
    }

    /// Names the user of a session in the audit entry.
    pub(super) fn of_user(mut self, subject: Option<Subject>) -> Self {
        self.entry.subject = subject.or(self.entry.subject);
        self
    }
}

impl Api {
    /// Revokes all items in one step, and records it as done `by` this user or client. Returns how many sessions ended, and how
    /// long the cut-offs among them are ahead.
    ///
    /// # Errors
    /// Fails if the store can't be written: then nothing was revoked.
    pub(super) async fn revoke(
        &self,
        items: Vec<Item>,
        by: audit::Entry,
        client: &Client,
    ) -> Result<(usize, Option<Duration>), ApiError> {
        let (requests, entries): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.request, item.entry)).unzip();
        let lead = self.node.sessions.cut_off_lead(&requests);
        let ended = self.node.sessions.revoke(requests).await?;
        for (entry, ended) in entries.into_iter().zip(&ended) {
            audit::Entry { actor: by.actor.clone(), client: by.client.clone(), sessions_ended: Some(*ended), ..entry }
                .note(Event::Revoked, client.address);
        }
        audit::durable().await;
        Ok((ended.iter().sum(), lead))
    }
}

/// Revokes a token, a session, all tokens of a subject, with a claim or of a key, or all tokens; or several of these at once.
///
/// For administrators, and for clients that may `revoke`. With `subject`, `claim` or `everything` the response comes in the next second, so that
/// tokens issued after it are not revoked. It comes later by the time that the clock of the issuer may be ahead: for another issuer its
/// `clock_skew`; for a claim of this server's tokens, which another node may have issued, 3 seconds or a longer `leeway`.
/// With `Prefer: wait=0` (RFC 7240) the response comes at once, and the caller waits. A target that was revoked before, or does not
/// exist, is not an error.
#[utoipa::path(post, path = "/revocations", tag = "Administration", security(("access" = []), ("client" = [])),
    params(WaitParameters), request_body = RevocationBody, responses(
    (status = 200, description = "Revoked, on stable storage.", body = Revoked),
    docs::BadRequest, docs::RefusedRevokers, docs::MayNotRevoke, docs::TooLarge, docs::NotJson, docs::Invalid,
    docs::QuotaUsedUp, docs::Unavailable,
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    headers: HeaderMap,
    AfterBody((revoker, client, wait), fields): AfterBody<(Revoker, Client, Wait), Fields>,
) -> Result<Response, ApiError> {
    let sessions = &api.node.sessions;
    let now = api.node.clock.now();
    let kept_until = match &revoker {
        // Not limited by the current settings: the token may be from a time when tokens lived longer.
        Revoker::Admin(..) => Latest { time: now.plus(MAX_SESSION), wrong: "Later than any token of this server." },
        Revoker::Client(service) => {
            let wrong = "Later than the client's client_revocation_horizon from now.";
            let (_, mut horizon) = service.limits.or_else(&api.settings);
            if service.limits.horizon.or(api.settings.client_revocation_horizon).is_none() {
                // The token may be from a time when sessions were longer.
                horizon = horizon.max(sessions.longest_session());
            }
            // The time is from the clock of the client or of an issuer, which may be ahead.
            Latest { time: now.plus(horizon).plus(api.settings.client_skew()), wrong }
        }
    };
    let items = read(fields, &api, &kept_until)?;
    if let Revoker::Client(_) = revoker {
        for item in &items {
            // Clients may not revoke what never lapses: nothing would bound what they leave in the log.
            let message = match item.request.target {
                RevocationTarget::Everything => "Only administrators may revoke everything.",
                RevocationTarget::Key(_) => "Only administrators may revoke a key.",
                _ => continue,
            };
            return Err(ApiError::ForAdministrators(message));
        }
    }
    let by = match &revoker {
        Revoker::Admin(admin, _) => audit::Entry::default().by(admin.subject()),
        Revoker::Client(service) => audit::Entry { client: Some(service.name.clone()), ..audit::Entry::default() },
    };
    let number = items.len();
    let revoked = revoker.within_quota(&api, number, api.revoke(items, by, &client)).await;
    if let Revoker::Client(service) = &revoker {
        match &revoked {
            Ok(_) => api.node.metrics.client_revoked(&service.name, number, true),
            Err(ApiError::QuotaUsedUp { .. }) => api.node.metrics.client_revoked(&service.name, number, false),
            Err(_) => {}
        }
    }
    let (sessions_ended, lead) = revoked?;
    let own_token_revoked = match &revoker {
        Revoker::Admin(_, token) => {
            Some(matches!(sessions.verifier().verify(token.as_str()), Err(TokenError::Revoked(_))))
        }
        Revoker::Client(_) => None,
    };
    let cut_off_is_over = async {
        let Some(lead) = lead else { return };
        wait.grant_cut_off(lead);
        let at_most = feed::preferred_wait(&headers).unwrap_or(Duration::MAX);
        let _over_or_not_waited_for = timeout(at_most, for_the_response(sessions.wait_past_cut_off(lead))).await;
    };
    let (everywhere, ()) = tokio::join!(wait.until_everywhere(&api.node.feed), cut_off_is_over);
    let everywhere = everywhere?;
    let cursor = feed::cursor(&headers, &api.node.feed).await;
    let body = Revoked { message: "Revoked.", sessions_ended, own_token_revoked, everywhere };
    Ok((AppendHeaders(cursor), Json(body)).into_response())
}

/// The latest time until which a revocation may be kept.
struct Latest {
    time: Timestamp,
    /// The error for a later time.
    wrong: &'static str,
}

fn read(mut fields: Fields, api: &Api, latest: &Latest) -> Result<Vec<Item>, ApiError> {
    let Some(list) = fields.take_list("revocations", MAX_ITEMS)? else {
        return Ok(vec![read_item(fields, api, latest)?]);
    };
    fields.finish(())?;
    let mut errors = FieldErrors::default();
    let mut items = Vec::with_capacity(list.len());
    for (index, fields) in list.into_iter().enumerate() {
        match fields.and_then(|fields| read_item(fields, api, latest)) {
            Ok(item) => items.push(item),
            Err(ApiError::Invalid(wrong)) => errors.extend_below(&format!("revocations.{index}"), wrong),
            Err(error) => return Err(error),
        }
    }
    if errors.is_empty() { Ok(items) } else { Err(errors.into()) }
}

fn read_item(mut fields: Fields, api: &Api, latest: &Latest) -> Result<Item, ApiError> {
    let sessions = &api.node.sessions;
    let claim = fields.take_object("claim")?.map(read_claim).transpose()?;
    let key = fields.optional("key", key_id);
    let token = fields.optional("token", Ok);
    let token_id = fields.optional("token_id", id::<TokenId>);
    let expires_at = fields.optional_number("expires_at");
    let keep_until = fields.optional_number("keep_until");
    let session = fields.optional("session", id::<SessionId>);
    let subject = fields.optional("subject", id::<Subject>);
    let everything = fields.optional_flag("everything");
    let issuer = fields.optional("issuer", id::<Issuer>);
    let (token, token_id, expires_at, keep_until, session, subject, everything, issuer, key) =
        fields.finish((token, token_id, expires_at, keep_until, session, subject, everything, issuer, key))?;
    let [expires_at, keep_until] = [expires_at, keep_until].map(|time| time.map(Timestamp::from_unix));

    if expires_at.is_some() && token_id.is_none() {
        return Err(wrong("expires_at", "Goes with token_id only."));
    }
    let is_foreign = issuer.as_ref().is_some_and(|issuer| issuer != sessions.issuer());
    if keep_until.is_some() && key.is_some() {
        return Err(wrong("keep_until", "The revocation of a key is kept for ever."));
    }
    if keep_until.is_some() && (expires_at.is_some() || !(is_foreign || token_id.is_some() || session.is_some())) {
        return Err(wrong(
            "keep_until",
            "Goes with token_id without expires_at, with session, and with another issuer.",
        ));
    }
    if issuer.is_some() && token.is_some() {
        return Err(wrong("issuer", "A token says itself who issued it."));
    }
    for (field, time) in [("expires_at", expires_at), ("keep_until", keep_until)] {
        if time.is_some_and(|time| time > latest.time) {
            return Err(wrong(field, latest.wrong));
        }
    }
    let target = match (token, token_id, session, subject, everything, claim, key) {
        (Some(token), None, None, None, None, None, None) => {
            let (claims, _) = sessions.verifier().read_claims(&token).map_err(|reason| match reason {
                TokenError::Stale => reason.into(),
                _ => wrong("token", "Not a token of this server."),
            })?;
            let entry = audit::Entry { scope: Some("token"), ..audit::Entry::of_claims(&claims, sessions.issuer()) };
            return Ok(Item { request: sessions.revocation_request(&claims), entry });
        }
        (None, Some(id), None, None, None, None, None) => RevocationTarget::Token { id, expires_at },
        (None, None, Some(id), None, None, None, None) => RevocationTarget::Session(id),
        (None, None, None, Some(id), None, None, None) => RevocationTarget::Subject(id),
        (None, None, None, None, None, Some(claim), None) => RevocationTarget::Claim(claim),
        (None, None, None, None, None, None, Some(id)) => RevocationTarget::Key(id),
        (None, None, None, None, Some(true), None, None) => RevocationTarget::Everything,
        (None, None, None, None, Some(false), None, None) => return Err(wrong("everything", "Must be true.")),
        _ => {
            return Err(wrong(
                "_schema",
                "Give exactly one of token, token_id, session, subject, claim, key and everything.",
            ));
        }
    };
    let mut item = Item::new(target, issuer, api)?;
    item.request.keep_until = keep_until;
    Ok(item)
}

fn read_claim(mut fields: Fields) -> Result<RevokedClaim, ApiError> {
    let (name, value) = (fields.required("name", Ok), fields.required("value", Ok));
    match fields.finish((name, value)) {
        Ok((name, value)) => RevokedClaim::new(&name, &value).map_err(|error| match error {
            IdError::Empty => wrong("claim.value", "Shorter than minimum length 1."),
            IdError::TooLong => wrong("claim.value", "With the name longer than 511 bytes."),
            error => FieldErrors::one("claim.name", error).into(),
        }),
        Err(ApiError::Invalid(inner)) => {
            let mut errors = FieldErrors::default();
            errors.extend_below("claim", inner);
            Err(errors.into())
        }
        Err(error) => Err(error),
    }
}

fn key_id(text: String) -> Result<KeyId, TextError> {
    KeyId::new(text).map_err(|_| TextError::new("Length must be between 1 and 256."))
}

fn wrong(field: &'static str, message: &'static str) -> ApiError {
    FieldErrors::one(field, message).into()
}
