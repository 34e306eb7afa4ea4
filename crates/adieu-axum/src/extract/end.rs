//! When the token of a request that goes on is no longer good.

use std::{fmt, time::Duration};

use adieu::token::{TokenError, Verifier};
use axum::http::request::Parts;
use tokio::time::sleep;

use super::{Access, Judged};
use crate::{
    Guard, RejectionReason,
    location::{Found, Wanted},
};

/// How often a token is judged.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The end of a good access token, for what goes on after the handler has returned: a WebSocket, or a stream of events.
///
/// Whoever logs out is let in no more, but what was let in before goes on until the application ends it. So a handler that
/// starts such a thing takes this as well, and ends it when [`TokenEnd::wait`] returns. A handler that takes it is protected.
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
    /// Returns once the token is no longer good, and why: within a second after this node would refuse a request with it.
    ///
    /// That is also when this node can't know any more whether it has been revoked.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped and called again on a clone.
    pub async fn wait(self) -> TokenError {
        loop {
            if let Err(refusal) = self.check() {
                return refusal;
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// # Errors
    /// When it is no longer good.
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
