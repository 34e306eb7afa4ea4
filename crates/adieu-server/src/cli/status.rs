//! `adieu status`

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    output::{Output, Reader, Table, visible},
    target::{Target, loopback},
};
use crate::config::{Flags, Settings, parse_duration};

/// How often `--watch` asks the nodes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Moves the cursor of a terminal to its first line, and clears the screen from there (ECMA-48 §8.3.21, §8.3.39).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where nodes serve their metrics, such as http://10.0.0.7:9464; without it, `metrics_listen` of the settings
    urls: Vec<String>,
    /// Ask every second and print rates instead of totals, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// How long to wait for each response
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// Print one JSON object per node
    #[arg(long)]
    json: bool,
    /// The settings file; `adieu config` prints a sample [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let targets = self.targets()?;
        if self.watch {
            return self.watch(&targets).await;
        }
        let nodes = self.ask(&targets).await;
        let mut output = Output::new(if self.json { Reader::Machine } else { Reader::Person });
        match output.reader() {
            Reader::Machine => nodes.iter().try_for_each(|node| output.object(&node.object()))?,
            Reader::Person => print(&nodes, None, &mut output)?,
        }
        output.finish()?;
        let problems: Vec<_> = nodes.iter().filter_map(Node::problem).collect();
        ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(ExitCode::SUCCESS)
    }

    fn targets(&self) -> anyhow::Result<Vec<Target>> {
        if !self.urls.is_empty() {
            return self.urls.iter().map(|url| Target::parse(url.strip_suffix("/metrics").unwrap_or(url))).collect();
        }
        let flags = Flags { config: self.config.clone(), ..Flags::default() };
        let settings = Settings::load(&flags, std::env::vars_os())?;
        let Some(address) = settings.metrics_listen else {
            bail!("metrics_listen is not set, so the server serves no metrics; set it, or name a URL");
        };
        let address: SocketAddr = loopback(address)?;
        Ok(vec![Target::Url(format!("http://{address}"))])
    }

    async fn ask(&self, targets: &[Target]) -> Vec<Node> {
        join_all(targets.iter().map(|target| Node::ask(target, self.timeout))).await
    }

    /// Prints the nodes every second. Ends when the reader of the output has gone.
    async fn watch(&self, targets: &[Target]) -> anyhow::Result<ExitCode> {
        let is_terminal = io::stdout().is_terminal();
        let mut before = Vec::new();
        loop {
            let started = Instant::now();
            let nodes = self.ask(targets).await;
            let mut output = Output::new(Reader::Person);
            if is_terminal {
                output.text(CLEAR)?;
            }
            print(&nodes, Some(&before), &mut output)?;
            for problem in nodes.iter().filter_map(Node::problem) {
                output.text(&format!("{}\n", visible(&problem)))?;
            }
            output.flush()?;
            if output.is_over() {
                return Ok(ExitCode::SUCCESS);
            }
            before = nodes;
            sleep_until(started + INTERVAL).await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Stale,
    Restored,
    Unknown,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Restored => "restored",
            Self::Unknown => "unknown",
        }
    }
}

/// A node, and what its metrics say.
struct Node {
    target: String,
    status: anyhow::Result<Status>,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    at: Instant,
    is_restored: bool,
    staleness: f64,
    max_staleness: f64,
    position: f64,
    revocations: f64,
    followers: f64,
    behind: f64,
    /// Logins, logouts and rejected tokens, since the start.
    totals: [f64; 3],
}

impl Node {
    async fn ask(target: &Target, limit: Duration) -> Self {
        let metrics = target.metrics(limit).await;
        let status = metrics.and_then(|text| Status::of(&text).context("these are not the metrics of a node"));
        Self { target: target.to_string(), status }
    }

    fn state(&self) -> State {
        match &self.status {
            Err(_) => State::Unknown,
            Ok(status) if status.is_restored => State::Restored,
            Ok(status) if status.staleness <= status.max_staleness => State::Fresh,
            Ok(_) => State::Stale,
        }
    }

    /// Returns why the node needs attention.
    fn problem(&self) -> Option<String> {
        let target = &self.target;
        match (&self.status, self.state()) {
            (Err(error), _) => Some(format!("{target}: {error:#}")),
            (_, State::Restored) => Some(format!("{target} has detected a restored backup that is not accepted yet")),
            (_, State::Stale) => Some(format!("{target} is stale")),
            (_, State::Fresh | State::Unknown) => None,
        }
    }

    fn object(&self) -> serde_json::Value {
        let state = self.state().as_str();
        match &self.status {
            Err(error) => json!({"node": self.target, "state": state, "error": format!("{error:#}")}),
            Ok(status) => {
                let [logins, logouts, rejected] = status.totals.map(whole);
                json!({
                    "node": self.target,
                    "state": state,
                    "staleness_ms": status.staleness.is_finite().then(|| whole(status.staleness * 1_000.0)),
                    "position": whole(status.position),
                    "revocations": whole(status.revocations),
                    "followers": whole(status.followers),
                    "behind": whole(status.behind),
                    "logins": logins,
                    "logouts": logouts,
                    "rejected": rejected,
                })
            }
        }
    }

    fn row(&self, before: Option<&[Self]>, place: usize) -> [String; 10] {
        let Ok(status) = &self.status else {
            let mut cells: [String; 10] = Default::default();
            (cells[0], cells[1]) = (self.target.clone(), self.state().as_str().to_owned());
            return cells;
        };
        let staleness = match status.staleness.is_finite() {
            true => format!("{:.1}s", status.staleness),
            false => String::new(),
        };
        let rates = before.map(|nodes| {
            let before = nodes.get(place).and_then(|node| node.status.as_ref().ok());
            before.map(|before| status.since(before)).unwrap_or_default()
        });
        let [logins, logouts, rejected] = rates.unwrap_or_else(|| status.totals.map(|total| whole(total).to_string()));
        let whole = |number| whole(number).to_string();
        [
            self.target.clone(),
            self.state().as_str().to_owned(),
            staleness,
            whole(status.position),
            whole(status.revocations),
            whole(status.followers),
            whole(status.behind),
            logins,
            logouts,
            rejected,
        ]
    }
}

impl Status {
    /// Reads metrics in the text format of OpenMetrics 1.0.
    fn of(text: &str) -> Option<Self> {
        let values = |name: &'static str| {
            text.lines().filter_map(move |line| {
                let rest = line.strip_prefix(name)?;
                let value = match rest.strip_prefix('{') {
                    Some(labelled) => labelled.rsplit_once("} ")?.1,
                    None => rest.strip_prefix(' ')?,
                };
                value.parse::<f64>().ok()
            })
        };
        let one = |name| values(name).next();
        Some(Self {
            at: Instant::now(),
            is_restored: one("adieu_restore_detected")? > 0.0,
            staleness: one("adieu_index_staleness_seconds")?,
            max_staleness: one("adieu_index_max_staleness_seconds")?,
            position: one("adieu_log_position")?,
            revocations: one("adieu_index_entries")?,
            followers: values("adieu_followers").sum(),
            behind: values("adieu_follower_lag_entries").fold(0.0, f64::max),
            totals: [one("adieu_logins_total")?, one("adieu_logouts_total")?, values("adieu_rejections_total").sum()],
        })
    }

    /// Returns the rates since an earlier status; empty if the node has started again since.
    fn since(&self, before: &Self) -> [String; 3] {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        std::array::from_fn(|place| match (self.totals.get(place), before.totals.get(place)) {
            (Some(now), Some(then)) if now >= then && seconds > 0.0 => format!("{:.1}", (now - then) / seconds),
            _ => String::new(),
        })
    }
}

/// Prints totals, or the rates since `before`.
fn print(nodes: &[Node], before: Option<&[Node]>, output: &mut Output) -> anyhow::Result<()> {
    let [logins, logouts, rejected] = match before {
        Some(_) => ["LOGINS/S", "LOGOUTS/S", "REJECTED/S"],
        None => ["LOGINS", "LOGOUTS", "REJECTED"],
    };
    let mut table = Table::new([
        "NODE",
        "STATE",
        "STALENESS",
        "POSITION",
        "REVOCATIONS",
        "FOLLOWERS",
        "BEHIND",
        logins,
        logouts,
        rejected,
    ]);
    for (place, node) in nodes.iter().enumerate() {
        table.row(output, node.row(before, place))?;
    }
    table.print(output)
}

/// Returns a count, which metrics write as a floating-point number.
fn whole(number: f64) -> u64 {
    number as u64
}
