//! Reports the state of the server to systemd (`Type=notify`, `WatchdogSec`; see `sd_notify(3)`). Without `$NOTIFY_SOCKET`, it does
//! nothing.
//!
//! 1. `READY=1` is sent once `/readyz` answers 200.
//! 2. From then on, `WATCHDOG=1` is sent twice in the time that systemd waits for it, as long as `/livez` answers 200. Neither an outage
//!    of the store nor a flood of clients stops it: a restart would not help.
//! 3. `RELOADING=1` is sent when the settings are read again, and `READY=1` when that is over.
//! 4. `STOPPING=1` is sent when the server is asked to stop; it goes on sending `WATCHDOG=1` until the requests in progress are answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode, Uri, header},
};
use sd_notify::{NotifyState, watchdog_enabled};
use tokio::{
    task::JoinHandle,
    time::{interval, sleep},
};
use tower::Service as _;

use crate::api::ApiService;

/// How often the readiness is checked at the start.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// Reports the state of the server until it is dropped.
#[derive(Debug)]
pub struct Notifier {
    reporting: Option<JoinHandle<()>>,
    is_ready: IsReady,
}

/// Whether `READY=1` was sent. Locked while that is sent, so that who has received it gets the state of a reload that is asked for next.
#[derive(Debug, Clone, Default)]
struct IsReady(Arc<Mutex<bool>>);

impl IsReady {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notifier {
    /// Starts to ask `api` for its state, if systemd wants to know it.
    pub fn start(api: ApiService) -> Self {
        let is_ready = IsReady::default();
        let reporting = std::env::var_os("NOTIFY_SOCKET").map(|_| tokio::spawn(report(api, is_ready.clone())));
        Self { reporting, is_ready }
    }

    /// Reports that the settings are being read again.
    pub fn reloading(&self) {
        if *self.is_ready.lock() {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => send(&[NotifyState::Reloading, now]),
                Err(_) => send(&[NotifyState::Reloading]),
            }
        }
    }

    /// Reports that the settings have been read again.
    pub fn reloaded(&self) {
        if *self.is_ready.lock() {
            send(&[NotifyState::Ready]);
        }
    }

    /// Reports that the server was asked to stop.
    pub fn stopping(&self) {
        if self.reporting.is_some() {
            send(&[NotifyState::Stopping]);
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(task) = &self.reporting {
            task.abort();
        }
    }
}

async fn report(api: ApiService, is_ready: IsReady) {
    while !succeeds(&api, "/readyz").await {
        sleep(READY_INTERVAL).await;
    }
    {
        let mut is_ready = is_ready.lock();
        send(&[NotifyState::Ready]);
        *is_ready = true;
    }
    let Some(patience) = watchdog_enabled().filter(|patience| !patience.is_zero()) else { return };
    let mut due = interval(patience / 2);
    loop {
        due.tick().await;
        if succeeds(&api, "/livez").await {
            send(&[NotifyState::Watchdog]);
        }
    }
}

/// Returns whether a request that comes from no connection is answered 200.
async fn succeeds(api: &ApiService, path: &'static str) -> bool {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    let Ok(response) = api.clone().call(request).await;
    response.status() == StatusCode::OK
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the state could not be sent to systemd");
    }
}
