//! Reports the state of the server to systemd (`Type=notify`, `WatchdogSec`; see `sd_notify(3)`). Without `$NOTIFY_SOCKET`, it does
//! nothing.
//!
//! 1. `READY=1` is sent once `/readyz` answers 200.
//! 2. From then on, `WATCHDOG=1` is sent twice in the time that systemd waits for it, as long as `/livez` answers 200. Neither an outage
//!    of the store nor a flood of clients stops it: a restart would not help.
//! 3. `RELOADING=1` is sent when the settings are read again, and `READY=1` when that is over.
//! 4. `STOPPING=1` is sent when the server is asked to stop; it goes on sending `WATCHDOG=1` until the requests in progress are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
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
    is_ready: Arc<AtomicBool>,
}

impl Notifier {
    /// Starts to ask `api` for its state, if systemd wants to know it.
    pub fn start(api: ApiService) -> Self {
        let is_ready = Arc::<AtomicBool>::default();
        let reporting = std::env::var_os("NOTIFY_SOCKET").map(|_| tokio::spawn(report(api, Arc::clone(&is_ready))));
        Self { reporting, is_ready }
    }

    /// Reports that the settings are being read again.
    pub fn reloading(&self) {
        if self.is_ready.load(Relaxed) {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => send(&[NotifyState::Reloading, now]),
                Err(_) => send(&[NotifyState::Reloading]),
            }
        }
    }

    /// Reports that the settings have been read again.
    pub fn reloaded(&self) {
        if self.is_ready.load(Relaxed) {
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

async fn report(api: ApiService, is_ready: Arc<AtomicBool>) {
    while !succeeds(&api, "/readyz").await {
        sleep(READY_INTERVAL).await;
    }
    send(&[NotifyState::Ready]);
    is_ready.store(true, Relaxed);
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
