//! The end of a token's validity, for requests that outlive it.

use std::{fmt, time::Duration};

use adieu::token::{TokenError, Verifier};
use axum::http::request::Parts;
use tokio::time::sleep;

use super::{Access, Judged};
use crate::{
    Guard, RejectionReason,
    location::{Found, Wanted},
};

/// How often the token is verified.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Reports the end of a valid access token, for work that continues after the handler has returned: a WebSocket, or a stream
/// of events.
///
/// After a logout new requests are rejected, but work that has already started continues until the application ends it. A
/// handler that starts such work takes this extractor as well, and ends the work when [`TokenEnd::wait`] returns. A handler
/// that takes it is protected.
///
/// ```
/// # use adieu_axum::TokenEnd;
/// # async fn talk(socket: &mut Socket) {}
/// # struct Socket;
/// /// For `upgrade.on_upgrade(|socket| serve(socket, end))`, of axum's `WebSocketUpgrade`.
/// async fn serve(mut socket: Socket, end: TokenEnd) {
///     tokio::select! {
///         () = talk(&mut socket) => {}
///         refusal = end.wait() => tracing::info!(%refusal, "closing"),
///     }
/// }
/// ```
///
/// A stream of events ends in the same way, with `take_until(end.wait())` of the crate `futures-util`.
#[derive(Clone)]
pub struct TokenEnd {
    guard: Guard,
    token: String,
}

impl TokenEnd {
    /// Waits until the token is no longer valid and returns the reason, within a quarter of a second after this node
    /// would reject a request with it.
    ///
    /// It also returns when this node can no longer know whether the token has been revoked.
    ///
    /// # Cancel safety
    /// Dropping the future and calling this again on a clone loses nothing.
    pub async fn wait(self) -> TokenError {
        loop {
            if let Err(refusal) = self.check() {
                return refusal;
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// # Errors
    /// If the token is no longer valid.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        self.guard.verifier().verify(&self.token).map(drop)
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }
}

impl fmt::Debug for TokenEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenEnd(…)")
    }
}

impl<S: Sync> Judged<S> for TokenEnd {
    const WANTED: Wanted = Wanted::Access;

    async fn judge(guard: &Guard, parts: &Parts, _: &S, found: Found<'_>) -> Result<Self, RejectionReason> {
        Access::accept(guard, parts, &found, Verifier::verify).await?;
        Ok(Self { guard: guard.clone(), token: found.token.into_owned() })
    }
}
