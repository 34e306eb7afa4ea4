//! `adieu stream`: the stream of security events at a transmitter of the Shared Signals Framework 1.0, which is pushed to `/events`.

mod transmitter;

use std::{
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use adieu::Issuer;
use adieu_events::EventKind;
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::transmitter::{PUSH, Status, Stream, StreamStatus, Transmitter};
use super::{
    on_store::{OnStore, audited},
    output::{Output, Reader, Table, counted},
    target::{Target, loopback},
};
use crate::{
    audit::{Entry, Event},
    config::{Settings, TrustedIssuer, parse_duration, written_duration},
    deliveries::destination,
};

/// The longest access token, in bytes.
const MAX_TOKEN: usize = 64 << 10;
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of streams whose status is requested in one command.
const MAX_STREAMS: usize = 16;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a stream that pushes the events that the settings accept from the issuer
    Create {
        #[command(flatten)]
        at: TransmitterArguments,
        /// The URL at which the transmitter reaches `/events` of this server
        #[arg(long, value_name = "URL")]
        endpoint: String,
    },
    /// Show the streams. Status 1 unless all are enabled, and their events can be accepted
    Status {
        #[command(flatten)]
        at: TransmitterArguments,
        /// Only the stream with this id
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        stream: Option<String>,
    },
    /// Ask for a verification event, and wait until the server has accepted one. Status 1 if it has not
    Verify {
        #[command(flatten)]
        at: TransmitterArguments,
        /// The id of the stream, if there are several
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        stream: Option<String>,
        /// How long to wait for the event, as the metrics at `metrics_listen` count it; "0s" does not wait
        #[arg(long, default_value = "30s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Enable a stream that is paused or disabled
    Enable {
        #[command(flatten)]
        at: TransmitterArguments,
        /// The id of the stream
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        stream: String,
    },
    /// Delete a stream: its events no longer arrive
    Delete {
        #[command(flatten)]
        at: TransmitterArguments,
        /// The id of the stream
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        stream: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct TransmitterArguments {
    /// The `trusted_issuer` of the settings. The URL of the transmitter is its `event_issuer`, or if it has none, its name
    #[arg(long, value_name = "ISSUER", allow_hyphen_values = true)]
    issuer: Issuer,
    /// The file with the access token for the transmitter; /dev/stdin for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Allow URLs with a private address, and HTTP without TLS
    #[arg(long)]
    allow_private: bool,
}

impl TransmitterArguments {
    fn trusted<'s>(&self, settings: &'s Settings) -> anyhow::Result<&'s TrustedIssuer> {
        let trusted = settings.trusted_issuer.iter().find(|trusted| trusted.name == self.issuer.as_str());
        trusted.with_context(|| format!("{} is not a trusted_issuer of the settings", self.issuer))
    }

    async fn transmitter(&self, trusted: &TrustedIssuer) -> anyhow::Result<Transmitter> {
        let issuer = Issuer::new(trusted.signer_of_events())?;
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        Transmitter::discover(issuer, token, self.allow_private).await
    }

    async fn record(&self, event: Event) {
        Entry { issuer: Some(self.issuer.clone()), ..Entry::default() }.record(event, None).await;
    }

    /// Records and prints what was done with a stream.
    async fn done(&self, event: Event, done: &str, stream: &str, output: &mut Output) -> anyhow::Result<()> {
        self.record(event).await;
        let object = json!({ "stream_id": stream, "done": done });
        output.result(&format!("{done} the stream {stream} of {}", self.issuer), &object)
    }
}

/// Reads a file with an access token. The error repeats no part of it.
fn read_token(file: &Path) -> anyhow::Result<SecretString> {
    let read = || {
        let mut text = String::new();
        File::open(file)?.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text)?;
        Ok(SecretString::from(text))
    };
    let text = read().map_err(|error: io::Error| anyhow!("--token-file {}: {error}", file.display()))?;
    let token = text.expose_secret().trim();
    ensure!(
        (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()),
        "--token-file {}: the file must contain one access token, and nothing else",
        file.display()
    );
    Ok(token.into())
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        let mut is_healthy = true;
        match self.command {
            Command::Create { at, endpoint } => {
                audited(&settings)?;
                create(&at, at.trusted(&settings)?, &endpoint, &mut output).await?;
            }
            Command::Status { at, stream } => {
                is_healthy = status(&at, at.trusted(&settings)?, stream, &mut output).await?;
            }
            Command::Verify { at, stream, timeout } => verify(&at, &settings, stream, timeout, &mut output).await?,
            Command::Enable { at, stream } => {
                let trusted = at.trusted(&settings)?;
                audited(&settings)?;
                at.transmitter(trusted).await?.enable(&stream).await?;
                at.done(Event::StreamEnabled, "enabled", &stream, &mut output).await?;
            }
            Command::Delete { at, stream } => {
                let trusted = at.trusted(&settings)?;
                audited(&settings)?;
                at.transmitter(trusted).await?.delete(&stream).await?;
                at.done(Event::StreamDeleted, "deleted", &stream, &mut output).await?;
            }
        }
        output.finish()?;
        Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn create(
    at: &TransmitterArguments,
    trusted: &TrustedIssuer,
    endpoint: &str,
    output: &mut Output,
) -> anyhow::Result<()> {
    let endpoint = destination::parse(endpoint, at.allow_private).context("--endpoint")?;
    let events: Vec<_> = trusted.events.iter().filter_map(|kind| kind.uri()).collect();
    ensure!(
        !events.is_empty(),
        "the events of {} in the settings have no kind of security event, such as \"session-revoked\"",
        at.issuer
    );
    let stream = at.transmitter(trusted).await?.create(&endpoint, &events).await?;
    at.record(Event::StreamCreated).await;
    StreamReport::new(&stream, None, trusted).print(output)
}

/// Shows the streams, and returns whether all is well with them.
async fn status(
    at: &TransmitterArguments,
    trusted: &TrustedIssuer,
    stream: Option<String>,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let transmitter = at.transmitter(trusted).await?;
    let streams = match stream {
        Some(id) => vec![transmitter.stream(&id).await?],
        None => transmitter.streams().await?,
    };
    ensure!(!streams.is_empty(), "there is no stream; `adieu stream create` creates one");
    ensure!(streams.len() <= MAX_STREAMS, "there are {} streams; choose one with --stream", streams.len());
    let mut is_healthy = true;
    for stream in streams {
        let status = transmitter.status(&stream.stream_id).await?;
        let found = StreamReport::new(&stream, Some(&status), trusted);
        is_healthy &= found.problems.is_empty();
        found.print(output)?;
    }
    Ok(is_healthy)
}

/// A stream, compared with the settings.
struct StreamReport<'s> {
    stream: &'s Stream,
    status: Option<&'s StreamStatus>,
    /// The kinds that the settings accept, and that the transmitter delivers.
    delivered: Vec<&'static str>,
    /// Those that it does not.
    not_delivered: Vec<&'static str>,
    /// Why its events do not arrive, or are rejected.
    problems: Vec<String>,
}

impl<'s> StreamReport<'s> {
    fn new(stream: &'s Stream, status: Option<&'s StreamStatus>, trusted: &TrustedIssuer) -> Self {
        let is_delivered = |kind: &EventKind| kind.uri().is_some_and(|uri| stream.events_delivered.contains(&uri));
        let (delivered, not_delivered): (Vec<_>, Vec<_>) =
            trusted.events.iter().copied().filter(|kind| kind.uri().is_some()).partition(is_delivered);
        let names = |kinds: Vec<EventKind>| kinds.into_iter().map(EventKind::as_str).collect();
        let mut problems = Vec::new();
        match status {
            Some(StreamStatus { status: Status::Enabled, .. }) | None => {}
            Some(_) => problems.push("no events arrive until the stream is enabled: `adieu stream enable`".to_owned()),
        }
        if !stream.audience.iter().any(|audience| trusted.event_audience.contains(audience)) {
            problems
                .push("the events are rejected: add the audience to event_audience of the issuer, and reload".into());
        }
        if delivered.is_empty() {
            problems.push("the stream delivers none of the events that the settings accept".to_owned());
        }
        if stream.delivery.method != PUSH {
            problems.push(format!("the events are not pushed: the method is not {PUSH}"));
        }
        Self { stream, status, delivered: names(delivered), not_delivered: names(not_delivered), problems }
    }

    fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let Self { stream, status, delivered, not_delivered, problems } = self;
        let timeout = stream.inactivity_timeout;
        if output.reader() == Reader::Machine {
            return output.object(&json!({
                "stream_id": stream.stream_id,
                "status": status.map(|status| status.status.to_string()),
                "reason": status.map(|status| &status.reason).filter(|reason| !reason.is_empty()),
                "method": stream.delivery.method,
                "endpoint": stream.delivery.endpoint_url,
                "audience": stream.audience,
                "delivered": delivered,
                "not_delivered": not_delivered,
                "inactivity_timeout": timeout,
                "problems": problems,
            }));
        }
        let mut table = Table::bare();
        let mut row = |name: &str, value: String| table.row(output, [name.to_owned(), value]);
        row("stream", stream.stream_id.clone())?;
        if let Some(StreamStatus { status, reason }) = status {
            row("status", if reason.is_empty() { status.to_string() } else { format!("{status}: {reason}") })?;
        }
        row("endpoint", stream.delivery.endpoint_url.clone())?;
        row("audience", stream.audience.join(", "))?;
        row("delivered", delivered.join(", "))?;
        if !not_delivered.is_empty() {
            row("not delivered", not_delivered.join(", "))?;
        }
        if let Some(timeout) = timeout {
            let timeout = written_duration(Duration::from_secs(timeout));
            row("idle", format!("the transmitter may end the stream if it is not asked about it for {timeout}"))?;
        }
        for problem in problems {
            row("problem", problem.clone())?;
        }
        table.print(output)
    }
}

async fn verify(
    at: &TransmitterArguments,
    settings: &Settings,
    stream: Option<String>,
    timeout: Duration,
    output: &mut Output,
) -> anyhow::Result<()> {
    let trusted = at.trusted(settings)?;
    let received = match settings.metrics_listen {
        Some(address) if !timeout.is_zero() => Some(ReceivedEvents::new(loopback(address)?, &at.issuer)),
        _ => None,
    };
    let transmitter = at.transmitter(trusted).await?;
    let id = match stream {
        Some(id) => id,
        None => only(transmitter.streams().await?)?,
    };
    let before = match &received {
        Some(received) => Some(received.count().await?),
        None => None,
    };
    let state = Uuid::new_v4().simple().to_string();
    transmitter.verify(&id, &state).await?;
    let sentence = match (&received, before) {
        (Some(received), Some(before)) => {
            received.wait(before, timeout).await?;
            format!("a verification event of {} has arrived", at.issuer)
        }
        _ => "the transmitter has accepted the request; whether the event arrives is in the metrics of the server \
              (metrics_listen)"
            .to_owned(),
    };
    let has_arrived = received.map(|_| true);
    let object = json!({ "stream_id": id, "state": state, "has_arrived": has_arrived });
    output.result(&sentence, &object)
}

fn only(streams: Vec<Stream>) -> anyhow::Result<String> {
    let number = streams.len();
    match <[Stream; 1]>::try_from(streams) {
        Ok([stream]) => Ok(stream.stream_id),
        Err(_) if number == 0 => bail!("there is no stream; `adieu stream create` creates one"),
        Err(_) => bail!("there are {number} streams; choose one with --stream"),
    }
}

/// The events that the server of these settings has received, as its metrics count them.
struct ReceivedEvents {
    metrics: Target,
    issuer: String,
}

/// How many events a server has received since its start.
#[derive(Debug, Clone, Copy)]
struct Count {
    /// The verification events of the issuer.
    verified: u64,
    /// The security events of any sender that were rejected.
    rejected: u64,
}

impl ReceivedEvents {
    fn new(metrics: SocketAddr, issuer: &Issuer) -> Self {
        Self { metrics: Target::Url(format!("http://{metrics}")), issuer: format!("issuer=\"{issuer}\"") }
    }

    async fn count(&self) -> anyhow::Result<Count> {
        let metrics = self.metrics.metrics(METRICS_TIMEOUT).await;
        let metrics = metrics.with_context(|| {
            format!("the metrics at {}, which count events, can't be read; \"--timeout 0s\" does not", self.metrics)
        })?;
        let total = |labels: [&str; 2]| {
            let is_counted = |line: &&str| labels.iter().all(|label| line.contains(label));
            let counters = metrics.lines().filter(|line| line.starts_with("adieu_events_total{")).filter(is_counted);
            counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
        };
        let verified = total([&self.issuer, r#"kind="verification""#]);
        let rejected = total([r#"kind="security-event""#, r#"outcome="rejected""#]);
        Ok(Count { verified, rejected })
    }

    /// Waits until the server has received another verification event than those `before`.
    async fn wait(&self, before: Count, timeout: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let now = self.count().await?;
            if now.verified > before.verified {
                return Ok(());
            }
            if started.elapsed() >= timeout {
                let rejected = usize::try_from(now.rejected.saturating_sub(before.rejected)).unwrap_or_default();
                bail!(
                    "the transmitter has accepted the request, but no verification event has arrived at this server \
                     within {}; meanwhile it has rejected {}; check the endpoint and the audience of the stream, and \
                     that the keys of the issuer can be read",
                    written_duration(timeout),
                    counted(rejected, "security event")
                );
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}
