//! Sends spans to the collector.

use std::time::Duration;

use adieu::retry::{Backoff, Outage};
use anyhow::Context as _;
use reqwest::{Client, StatusCode, redirect};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    Counters,
    message::{Resource, Span, body},
};
use crate::config::CollectorUrl;

/// How many spans are sent in one request.
const MAX_BATCH: usize = 512;

/// How long spans gather before they are sent.
const BATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The delays before a batch is sent again.
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(30);

pub(super) struct Exporter {
    client: Client,
    url: String,
    resource: Resource,
    counters: Counters,
    outage: Outage,
}

/// What became of a batch.
enum Sent {
    Accepted,
    /// It may be accepted later.
    Unavailable(String),
    Refused(String),
}

impl Exporter {
    /// Prepares to send to this collector.
    pub(super) fn new(endpoint: &CollectorUrl, counters: Counters) -> anyhow::Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("adieu/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .context("HTTP can't be used")?;
        Ok(Self { client, url: endpoint.traces(), resource: Resource::new(), counters, outage: Outage::default() })
    }

    /// Sends spans until it is stopped, and then those that wait.
    pub(super) async fn run(self, mut spans: mpsc::Receiver<Span>, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        loop {
            let is_stopped = tokio::select! {
                count = spans.recv_many(&mut batch, MAX_BATCH) => if count == 0 { return } else { false },
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if is_stopped {
                spans.close();
                while spans.recv_many(&mut batch, MAX_BATCH).await > 0 {}
            } else {
                // More of them may follow, unless it is stopped meanwhile.
                let _stopped = timeout(BATCH_INTERVAL, stop.wait_for(|stop| *stop)).await;
                while batch.len() < MAX_BATCH
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
            }
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(MAX_BATCH));
                self.deliver(std::mem::replace(&mut batch, rest), &mut stop).await;
            }
            if is_stopped {
                return;
            }
        }
    }

    /// Sends a batch until it is accepted or refused. Once it is stopped, it does not wait for another attempt.
    async fn deliver(&self, batch: Vec<Span>, stop: &mut watch::Receiver<bool>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = body(&self.resource, batch);
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        loop {
            let error = match self.send(body.clone()).await {
                Sent::Accepted => {
                    self.counters.exported.inc_by(count);
                    if self.outage.ends() {
                        tracing::info!("the collector of traces accepts spans again");
                    }
                    return;
                }
                Sent::Refused(error) => {
                    self.report(&error);
                    break;
                }
                Sent::Unavailable(error) => error,
            };
            self.report(&error);
            if *stop.borrow() {
                break;
            }
            tokio::select! {
                () = sleep(backoff.next_delay()) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        self.counters.dropped.inc_by(count);
    }

    async fn send(&self, body: Vec<u8>) -> Sent {
        let request = self.client.post(&self.url).header("content-type", "application/x-protobuf").body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Sent::Accepted,
            Ok(answer) => {
                let (status, error) = (answer.status(), format!("status {}", answer.status().as_u16()));
                // Only these are to be sent again, by the specification.
                let again = [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::BAD_GATEWAY,
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::GATEWAY_TIMEOUT,
                ];
                if again.contains(&status) { Sent::Unavailable(error) } else { Sent::Refused(error) }
            }
            Err(error) => Sent::Unavailable(adieu::Chain(&error.without_url()).to_string()),
        }
    }

    fn report(&self, error: &str) {
        if self.outage.begins() {
            tracing::warn!(error, "the collector of traces does not accept spans");
        }
    }
}
