//! A request body that is passed on only while the request's token is valid.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use adieu::token::TokenError;
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use crate::{TokenEnd, location::too_slow};

/// Why a body is cut off.
enum End {
    /// The token is no longer valid.
    Refused(TokenError),
    /// Nothing arrived within the timeout.
    TimedOut,
}

/// Verifies the token again whenever part of the body arrives, and answers instead of `next` when the token is no longer
/// valid.
pub(crate) async fn watch<F, E>(
    request: Request,
    token: TokenEnd,
    timeout: Duration,
    next: impl FnOnce(Request) -> F,
) -> Result<Response, E>
where
    F: Future<Output = Result<Response, E>>,
{
    let (end, mut ended) = oneshot::channel();
    let (_answering, answered) = oneshot::channel();
    let guard = token.guard().clone();
    let watched = |body| Watched { body, token, timeout, idle: None, end: Some(end), answered: Some(answered) };
    let response = next(request.map(|body| Body::new(watched(body))));
    // A handler that waits for the body gets no error, since it might continue without the body. It is dropped.
    tokio::select! {
        biased;
        Ok(end) = &mut ended => Ok(match end {
            End::Refused(refusal) => guard.reject(refusal).into_response(),
            End::TimedOut => too_slow(),
        }),
        response = response => response,
    }
}

struct Watched {
    body: Body,
    token: TokenEnd,
    timeout: Duration,
    idle: Option<Pin<Box<Sleep>>>,
    end: Option<oneshot::Sender<End>>,
    /// Closed after the request has been answered.
    answered: Option<oneshot::Receiver<Infallible>>,
}

type NextFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl Watched {
    fn end(&mut self, why: End, context: &mut Context<'_>) -> NextFrame {
        if let Some(end) = self.end.take() {
            // After the request has been answered, there is no receiver.
            let _answered = end.send(why);
        }
        self.after_end(context)
    }

    /// A reader outside the handler must not wait forever.
    fn after_end(&mut self, context: &mut Context<'_>) -> NextFrame {
        let Some(answered) = &mut self.answered else { return Poll::Ready(None) };
        match Pin::new(answered).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.answered = None;
                Poll::Ready(Some(Err(axum::Error::new("the token of the request is no longer valid"))))
            }
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> NextFrame {
        let this = &mut *self;
        if this.end.is_none() {
            return this.after_end(context);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let timeout = this.timeout;
            let idle = this.idle.get_or_insert_with(|| Box::pin(sleep(timeout)));
            return match idle.as_mut().poll(context) {
                Poll::Ready(()) => this.end(End::TimedOut, context),
                Poll::Pending => Poll::Pending,
            };
        };
        this.idle = None;
        // Checked after the body part arrives, so that every part passed on came with a valid token.
        match this.token.check() {
            Ok(()) => Poll::Ready(frame),
            Err(refusal) => this.end(End::Refused(refusal), context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_some() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
