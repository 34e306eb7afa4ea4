//! Steps that go on without their caller.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Completes a step even if its caller is dropped: a durable revocation must reach the index. The step runs within its caller, so that a
/// logout costs no task; a new task takes over only what a caller leaves behind.
pub async fn to_its_end<T: Send + 'static>(step: impl Future<Output = T> + Send + 'static) -> T {
    let mut step = Step(Some(Box::pin(step)));
    poll_fn(|context| step.poll(context)).await
}

/// A step that has begun; `None` once it has ended.
struct Step<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Step<F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out meanwhile: a step that panics has ended.
        let Some(mut step) = self.0.take() else { return Poll::Pending };
        let polled = step.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(step);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Step<F> {
    fn drop(&mut self) {
        if let Some(step) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(step);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::oneshot;

    use super::to_its_end;

    #[tokio::test]
    async fn a_step_that_has_begun_ends_without_its_caller() {
        let (write, written) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let mut caller = Box::pin(to_its_end(async move {
            written.await.unwrap();
            end.send("in the index").unwrap();
        }));
        tokio::select! {
            biased;
            _ = &mut caller => unreachable!("nothing was written yet"),
            () = std::future::ready(()) => drop(caller),
        }
        write.send(()).unwrap();
        assert_eq!(ended.await, Ok("in the index"));
    }
}
