//! Health checks.

use std::time::Duration;

use adieu::token::{StalePolicy, Verifier};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use utoipa::ToSchema;

use super::{Api, docs};
use crate::{error::LOG_TARGET, store::Stores};

/// How long a readiness check waits for the accounts.
const ACCOUNTS_TIMEOUT: Duration = Duration::from_millis(500);

/// How it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Returns 200 while the process answers, for a supervisor that restarts it otherwise.
#[utoipa::path(get, path = "/livez", tag = "Operation", responses(
    (status = 200, description = "It answers.", body = Health),
))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether a node is ready, and how much it knows.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// When it is not: the HTTP status once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// `ready`, or the HTTP status in words.
    #[schema(example = "ready")]
    status: &'static str,
    ready: bool,
    /// Whether accounts and clients can be read and written. If not, logins fail; tokens are still verified, and followers are
    /// still served.
    accounts_available: bool,
    revocations: Knowledge,
}

/// What a node knows of what has been revoked.
#[derive(Serialize, ToSchema)]
struct Knowledge {
    /// Whether the staleness exceeds the maximum.
    #[schema(example = false)]
    stale: bool,
    /// How long ago the index was known to be complete, in milliseconds; null if it never was.
    #[schema(example = 120)]
    staleness_ms: Option<u64>,
    /// The maximum staleness, in milliseconds.
    #[schema(example = 2000)]
    max_staleness_ms: u64,
    /// What happens to tokens while it is stale: `reject`, or `accept`, which leaves the node ready.
    #[schema(example = "reject", pattern = "^(reject|accept)$")]
    stale_policy: &'static str,
    /// The number of known revocations.
    #[schema(example = 3)]
    entries: usize,
}

impl Knowledge {
    fn of(verifier: &Verifier) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            stale: !verifier.is_fresh(),
            staleness_ms: verifier.staleness().map(millis),
            max_staleness_ms: millis(verifier.max_staleness()),
            stale_policy: match verifier.stale_policy() {
                StalePolicy::Reject => "reject",
                StalePolicy::Accept => "accept",
            },
            entries: verifier.index().stats().entries,
        }
    }

    /// Returns whether this state makes the node not ready: from when it begins to reject tokens; and, whatever its
    /// policy, until its data was first complete.
    fn refuses(&self) -> bool {
        self.stale && (self.stale_policy == "reject" || self.staleness_ms.is_none())
    }
}

impl Readiness {
    /// Returns the readiness of a node with this verifier. `problem` is another reason why it is not ready.
    pub(super) fn new(verifier: &Verifier, problem: Option<&'static str>, accounts_available: bool) -> Self {
        Self {
            code: problem.map(|_| 503),
            message: problem,
            status: if problem.is_some() { "Service Unavailable" } else { "ready" },
            ready: problem.is_none(),
            accounts_available,
            revocations: Knowledge::of(verifier),
        }
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let mut response = Json(&self).into_response();
        if !self.ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Says whether this node should get requests: it knows of every logout, can make one durable, and is not about to stop.
///
/// A node that was told to accept tokens while it is not up to date is ready all the same, and says that it is not; so is one
/// whose accounts are in another store than its revocations and can't be reached.
#[utoipa::path(get, path = "/readyz", tag = "Operation", responses(
    (status = 200, description = "It can.", body = Readiness),
    docs::NotReady,
))]
pub(super) async fn readyz(State(api): State<Api>) -> Readiness {
    let (verifier, stores) = (api.node.sessions.verifier(), api.node.stores());
    let problem = if let Some(leaving) = leaving(&api.node.is_leaving) {
        Some(leaving)
    } else if Knowledge::of(verifier).refuses() {
        Some("The revocations known here are not up to date.")
    } else if let Err(error) = stores.check().await {
        tracing::warn!(target: LOG_TARGET, error = &error as &dyn std::error::Error, "not ready");
        Some("The store can't be read and written.")
    } else {
        None
    };
    Readiness::new(verifier, problem, has_accounts(stores).await)
}

/// Returns why a node that is about to stop is not ready.
pub(super) fn leaving(is_leaving: &watch::Sender<bool>) -> Option<&'static str> {
    is_leaving.borrow().then_some("This server is about to stop.")
}

/// Returns whether accounts and clients can be read and written.
pub(super) async fn has_accounts(stores: &Stores) -> bool {
    match timeout(ACCOUNTS_TIMEOUT, stores.check_accounts()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(target: LOG_TARGET, error = &error as &dyn std::error::Error, "accounts are not available");
            false
        }
        Err(_) => false,
    }
}
