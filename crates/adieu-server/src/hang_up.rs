//! What becomes of a request whose client hangs up, or whose time is over.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use tokio::sync::oneshot;

tokio::task_local! {
    /// How much of what the handler does at the moment is for the response alone.
    static FOR_THE_RESPONSE: Cell<usize>;
}

/// Runs a handler to its end even if the returned future is dropped: what the handler changes must be in the audit trail. It ends where it
/// does something [for the response alone](for_the_response) then.
pub(crate) async fn to_its_end<T: Send + 'static>(handler: impl Future<Output = T> + Send + 'static) -> T {
    let (client, mut gone) = oneshot::channel::<()>();
    let handled = FOR_THE_RESPONSE.scope(Cell::new(0), async move {
        let (mut handler, mut is_gone) = (pin!(handler), false);
        poll_fn(|context| {
            if let Poll::Ready(response) = handler.as_mut().poll(context) {
                return Poll::Ready(Some(response));
            }
            is_gone = is_gone || Pin::new(&mut gone).poll(context).is_ready();
            if is_gone && FOR_THE_RESPONSE.with(Cell::get) > 0 { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    });
    let response = adieu::session::to_its_end(handled).await;
    drop(client);
    match response {
        Some(response) => response,
        // Only a handler without a client ends without a response.
        None => pending().await,
    }
}

/// Does something that changes nothing and only costs, such as waiting or hashing a password. If the client is gone, the whole handler
/// ends here.
pub(crate) async fn for_the_response<T>(work: impl Future<Output = T>) -> T {
    let _counted = Counted::new();
    work.await
}

/// Counts something that is done for the response, until it is dropped, which a timeout may do early.
struct Counted;

impl Counted {
    fn new() -> Self {
        Self::count(|depth| depth.saturating_add(1));
        Self
    }

    fn count(change: fn(usize) -> usize) {
        // Outside of a handler, there is no client that could hang up.
        let _ = FOR_THE_RESPONSE.try_with(|depth| depth.set(change(depth.get())));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        Self::count(|depth| depth.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        sync::mpsc::{UnboundedSender, unbounded_channel},
        time::{sleep, timeout},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Debug, Clone, Copy)]
    enum Waits {
        Plainly,
        ForTheResponse,
        /// For the response, until a timeout drops the wait.
        WithATimeout,
    }

    /// A handler that waits for two seconds, and says how far it has come.
    async fn handler(steps: UnboundedSender<&'static str>, waits: Waits) {
        let _ended = steps.clone();
        let _ = steps.send("begun");
        sleep(SECOND).await;
        match waits {
            Waits::Plainly => sleep(2 * SECOND).await,
            Waits::ForTheResponse => for_the_response(sleep(2 * SECOND)).await,
            Waits::WithATimeout => {
                let _ = timeout(2 * SECOND, for_the_response(sleep(60 * SECOND))).await;
            }
        }
        let _ = steps.send("waited");
        sleep(SECOND).await;
        let _ = steps.send("done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_goes_on_unless_what_it_does_is_for_the_response() {
        // Hangs up before the wait, during it, after it, and not at all.
        for (hangs_up_after, waits, reached) in [
            (SECOND / 2, Waits::Plainly, "done"),
            (SECOND / 2, Waits::ForTheResponse, "begun"),
            (SECOND * 3 / 2, Waits::Plainly, "done"),
            (SECOND * 3 / 2, Waits::ForTheResponse, "begun"),
            (SECOND * 3 / 2, Waits::WithATimeout, "begun"),
            (SECOND * 7 / 2, Waits::ForTheResponse, "done"),
            (SECOND * 7 / 2, Waits::WithATimeout, "done"),
            (SECOND * 9, Waits::ForTheResponse, "done"),
        ] {
            let (steps, mut seen) = unbounded_channel();
            let _ = timeout(hangs_up_after, to_its_end(handler(steps, waits))).await;
            let mut last = "";
            while let Some(step) = seen.recv().await {
                last = step;
            }
            assert_eq!(last, reached, "{hangs_up_after:?}, {waits:?}");
        }
    }
}
