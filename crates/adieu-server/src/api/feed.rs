//! The feed over HTTP, and waiting until a revocation holds everywhere.

use std::{convert::Infallible, time::Duration};

use adieu::{
    revocation::{Cursor, Position},
    token::StalePolicy,
};
use adieu_axum::RejectionKind;
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, docs,
    service::{Can, Follow},
    time_limit::MoreTime,
};
use crate::{
    config::{GREATEST_STALENESS, stale_policy},
    error::{ApiError, FieldErrors},
    feed::{Accepted, Everywhere, Feed, Follower, PREFER, PREFERS_CURSOR},
    hang_up::for_the_response,
    input::{Fields, Query},
    text::TextError,
};

/// The longest wait of a follower's request.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Extra time, beyond the bound, of a call that waits until a revocation holds everywhere.
const MARGIN: Duration = Duration::from_secs(1);

const MAX_FOLLOWER: usize = 64;

/// The maximum length of what a follower calls itself.
const MAX_AGENT: usize = 64;

/// The query field that requests a wait, and its only value.
const WAIT: &str = "wait";
const EVERYWHERE: &str = "everywhere";

pub(super) const CURSOR: HeaderName = HeaderName::from_static("adieu-cursor");

/// Returns the header with that cursor, if the request prefers it.
pub(super) async fn cursor(asked_with: &HeaderMap, feed: &Feed) -> Option<(HeaderName, HeaderValue)> {
    let mut preferences = asked_with.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    if !preferences.any(|all| all.split(',').any(|one| one.trim().eq_ignore_ascii_case(PREFERS_CURSOR))) {
        return None;
    }
    // Without the header, the follower finds the revocation in a slower way.
    let head = feed.hub.head().await.ok()?;
    HeaderValue::try_from(head.to_string()).ok().map(|head| (CURSOR, head))
}

/// From where to read, and who reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct FeedParameters {
    /// The `cursor` of the last page; left out: from the beginning.
    #[param(pattern = r"^.+\.[0-9]{1,19}$")]
    after: Option<String>,
    /// How long the answer may be held back while there is nothing new, in milliseconds.
    #[param(minimum = 0, maximum = 30000, default = 0)]
    wait: Option<u32>,
    /// What the follower calls itself, drawn at random when it starts: then `?wait=everywhere` waits for it.
    #[param(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    follower: Option<String>,
    /// With `follower`: how long after a revocation it may accept what was revoked, in milliseconds.
    #[param(minimum = 1)]
    max_staleness: Option<u64>,
    /// With `follower`: `reject` (the default), or `accept` if it accepts tokens while it is stale.
    #[param(pattern = "^(reject|accept)$")]
    stale_policy: Option<String>,
    /// With `follower`: the position up to which this follower, and every process that follows it, has applied all
    /// entries; without it, the position of `after`.
    applied: Option<u64>,
}

/// A page of the feed.
#[derive(Serialize, ToSchema)]
pub(super) struct FeedPage {
    /// Where to read on: `after` of the next request.
    #[schema(example = "2f1c7e0a9b5d4c3e8f6a1b2c3d4e5f60.42")]
    cursor: String,
    /// Whether this is all there was; when not, read on at once.
    complete: bool,
    /// Whether the page starts at the beginning of the log. When a cursor was sent, the log is another one.
    from_start: bool,
    /// How old this is: whatever was revoked that long before the request was sent is here, or in the pages before.
    #[schema(example = 0)]
    age_ms: u64,
    /// A token whose `exp` is more than 120 seconds before this is to be taken for expired, whatever the clock says.
    #[schema(example = 1_800_000_000)]
    pruned_through: u64,
    /// The issuer that is meant by a revocation that names none.
    #[schema(example = "adieu")]
    issuer: String,
    /// The bound of this node.
    #[schema(example = 2000)]
    max_staleness_ms: u64,
    /// The revocations, in order.
    #[schema(value_type = Vec<Object>, example = json!([{
        "issuer": "adieu", "kind": "session", "id": "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22", "lapses_at": 1_800_001_020
    }]))]
    entries: Vec<serde_json::Value>,
}

/// Gives the revocations after a cursor, and waits for some when there are none.
///
/// Read it from the beginning (without `after`) to the end (`complete`), then go on from the last `cursor`, with `wait`.
#[utoipa::path(get, path = "/revocations", tag = "Service", security(("client" = [])), params(FeedParameters), responses(
    (status = 200, description = "A page. With `Accept: application/vnd.adieu.revocations` in a binary form.",
        body = FeedPage),
    docs::TwoTokens, docs::WrongClient, docs::MayNotFollow, docs::InvalidQuery, docs::TooManyFollowers, docs::Unavailable,
))]
pub(super) async fn follow(
    State(feed): State<Feed>,
    Can { client, .. }: Can<Follow>,
    time: MoreTime,
    accepted: Accepted,
    UserAgent(agent): UserAgent,
    Query(fields): Query,
) -> Result<Response, ApiError> {
    let arrived = feed.clock.moment();
    let name = client.name.as_str();
    let request = FeedRequest::read(fields, feed.leases.bound())?;
    time.grant(request.wait);

    let lease = match &request.lease {
        None => None,
        Some(lease) => {
            let LeaseRequest { ref id, max_staleness, stale_policy, applied } = *lease;
            let lease = feed
                .leases
                .renew(&Follower { client: name, id, max_staleness, stale_policy, agent: &agent }, arrived)?;
            // A follower cannot have applied what it has not read.
            let applied = request.after.as_ref().map(|after| Cursor {
                log: after.log.clone(),
                position: applied.map_or(after.position, |applied| applied.min(after.position)),
            });
            Some((lease, applied))
        }
    };
    let known_good = || {
        if let Some((lease, Some(applied))) = lease {
            feed.leases.record_applied(&lease, applied);
        }
    };
    let _waits = match request.wait.is_zero() {
        true => None,
        false => Some(feed.let_wait(name).ok_or(ApiError::TooManyFollowers)?),
    };
    let answer = feed.hub.read(request.after.as_ref(), request.wait, arrived, known_good).await?;

    let (media_type, page) = feed.encode(&answer, &accepted);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept, authorization, adieu-index-key")),
    ];
    Ok((headers, page).into_response())
}

/// A handler that takes this, in place of all headers, does not keep the buffer with the request's head while it waits.
impl<S: Sync> FromRequestParts<S> for Accepted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

/// What a client calls itself (`User-Agent`), cut to [`MAX_AGENT`] characters; empty if it does not say, or says it in other than visible
/// ASCII.
pub(super) struct UserAgent(String);

impl<S: Sync> FromRequestParts<S> for UserAgent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self(agent.chars().take(MAX_AGENT).collect()))
    }
}

/// A parsed request of a follower.
struct FeedRequest {
    after: Option<Cursor>,
    wait: Duration,
    lease: Option<LeaseRequest>,
}

struct LeaseRequest {
    id: String,
    max_staleness: Duration,
    stale_policy: StalePolicy,
    applied: Option<Position>,
}

impl FeedRequest {
    fn read(mut fields: Fields, bound: Duration) -> Result<Self, ApiError> {
        let after = fields.optional("after", |text| text.parse().map_err(|_| TextError::new("Not a cursor.")));
        let wait = fields.optional("wait", |text| match number(&text)? {
            millis if Duration::from_millis(millis) <= MAX_WAIT => Ok(Duration::from_millis(millis)),
            _ => Err(TextError::new(format!("Must be at most {}.", MAX_WAIT.as_millis()))),
        });
        let follower = fields.optional("follower", |text| {
            let fits = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
            match (1..=MAX_FOLLOWER).contains(&text.len()) && text.bytes().all(fits) {
                true => Ok(text),
                false => Err(TextError::new("Must be 1 to 64 of A-Z, a-z, 0-9, _ and -.")),
            }
        });
        let max_staleness = fields.optional("max_staleness", |text| match number(&text)? {
            0 => Err(TextError::new("Must be at least 1.")),
            millis if Duration::from_millis(millis) <= bound => Ok(Duration::from_millis(millis)),
            _ => Err(TextError::new(format!("Must be at most {}, the bound of this node.", bound.as_millis()))),
        });
        let stale_policy = fields.optional("stale_policy", |text| {
            stale_policy(&text).ok_or_else(|| TextError::new("Must be one of: reject, accept."))
        });
        let applied = fields.optional("applied", |text| number(&text).map(Position::new));
        let (after, wait, follower, max_staleness, stale_policy, applied) =
            fields.finish((after, wait, follower, max_staleness, stale_policy, applied))?;

        let lease = match (follower, max_staleness) {
            (Some(id), Some(max_staleness)) => {
                Some(LeaseRequest { id, max_staleness, stale_policy: stale_policy.unwrap_or_default(), applied })
            }
            (Some(_), None) => return Err(wrong("max_staleness", "Missing data for required field.")),
            (None, max_staleness) => {
                let alone = [
                    ("max_staleness", max_staleness.is_some()),
                    ("stale_policy", stale_policy.is_some()),
                    ("applied", applied.is_some()),
                ];
                if let Some((field, _)) = alone.into_iter().find(|(_, is_there)| *is_there) {
                    return Err(wrong(field, "Goes with follower only."));
                }
                None
            }
        };
        Ok(Self { after, wait: wait.unwrap_or_default(), lease })
    }
}

fn number(text: &str) -> Result<u64, TextError> {
    let digits = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| TextError::new("Not a valid integer."))
}

fn wrong(field: &'static str, message: &'static str) -> ApiError {
    ApiError::InvalidQuery(FieldErrors::one(field, message))
}

/// Returns how long the caller is willing to wait (RFC 7240 §4.3) for a cut-off to pass. Clients can also wait by
/// themselves.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let all = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut each = all.flat_map(|all| all.split(','));
    let seconds = each.find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

/// Whether the response to a revocation waits until it holds everywhere (`?wait=everywhere`).
///
/// As an extractor, it reads the whole query and rejects other fields.
pub(super) struct Wait {
    is_wanted: bool,
    time: MoreTime,
}

impl Wait {
    /// Takes the field from a query that has others too.
    pub(super) fn take(fields: &mut Fields) -> crate::input::Field<Option<()>> {
        fields.optional(WAIT, |text| match text.as_str() {
            EVERYWHERE => Ok(()),
            _ => Err(TextError::new("Must be: everywhere.")),
        })
    }

    pub(super) fn new(wanted: Option<()>, time: MoreTime) -> Self {
        if wanted.is_some() {
            time.expect_wait();
        }
        Self { is_wanted: wanted.is_some(), time }
    }

    /// Returns the query and the extra time for a call that is forwarded to another node. Grants the same time again
    /// for following that node up to the revocation.
    pub(super) fn forwarded(&self, feed: &Feed) -> (&'static str, Duration) {
        let wait = feed.leases.bound() + MARGIN;
        self.time.grant(wait * 2);
        if self.is_wanted { ("?wait=everywhere", wait) } else { ("", Duration::ZERO) }
    }

    /// Grants the time until cut-offs that are up to `reach` ahead have passed.
    pub(super) fn grant_cut_off(&self, reach: Duration) {
        self.time.grant(reach + MARGIN);
    }

    /// Waits, if requested, until all revocations made durable so far hold everywhere.
    ///
    /// # Errors
    /// Fails if that cannot be determined. The revocations remain durable.
    pub(super) async fn until_everywhere(&self, feed: &Feed) -> Result<Option<Everywhere>, ApiError> {
        if !self.is_wanted {
            return Ok(None);
        }
        // Another node of the store may have a greater bound; the wait lasts no longer than that bound.
        self.time.grant(GREATEST_STALENESS + MARGIN);
        Ok(Some(for_the_response(feed.everywhere()).await?))
    }
}

/// Also waits if a call that requests it is rejected because its session has already ended: the client may have lost
/// the first response and retried. With `?wait=everywhere`, that error too is sent only once the revocation holds
/// everywhere.
pub(super) async fn also_when_it_has_ended_before(State(api): State<Api>, request: Request, next: Next) -> Response {
    let may_revoke = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_wanted = may_revoke
        && form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .any(|(name, value)| name == WAIT && value == EVERYWHERE);
    let time: Option<MoreTime> = request.extensions().get().cloned();
    let response = next.run(request).await;
    let time = time.unwrap_or_default();
    // Only a handler that would have waited counts: it has let the caller in.
    let is_gone = response.status() == StatusCode::NOT_FOUND && time.expects_wait();
    let has_ended = is_gone || response.extensions().get() == Some(&RejectionKind::Revoked);
    if !is_wanted || !has_ended {
        return response;
    }
    match Wait::new(Some(()), time).until_everywhere(&api.node.feed).await {
        Ok(_) => response,
        Err(error) => error.into_response(),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(mut fields) = Query::from_request_parts(parts, state).await?;
        let wanted = Self::take(&mut fields);
        let (wanted,) = fields.finish((wanted,))?;
        let Ok(time) = MoreTime::from_request_parts(parts, state).await;
        Ok(Self::new(wanted, time))
    }
}

/// How `?wait=everywhere` is described.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) struct WaitParameters {
    /// `everywhere`: answer only once every follower has the revocation, or must have begun to refuse. That takes
    /// `max_staleness` and a second at most; the answer says how many there were of each (`everywhere`). So is one that
    /// says that it had ended before (401 `token_revoked`, or 404).
    /// Other processes on the same SQLite file are not known here, and not waited for.
    #[param(inline)]
    wait: Option<WaitFor>,
}

/// What there is to wait for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only describes the schema")]
pub(super) enum WaitFor {
    Everywhere,
}
