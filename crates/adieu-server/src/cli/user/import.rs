//! `adieu user import`
//!
//! By default all users are added in one transaction, after every row has been checked, or none. With `--skip-invalid`
//! they are added in batches while the input is read, which needs little memory however many there are.

mod document;
mod input;
mod lines;
mod plain;
mod record;
mod sources;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use self::{
    input::{Found, Layout},
    record::{Place, Record, Row, RowError},
    sources::{HashConfig, Source},
};
use super::super::{
    on_store::{audited, exists, open_to_read, require_unless},
    output::{Output, Reader, counted},
    progress::Progress,
};
use crate::{
    accounts::{Account, AccountStore, Role},
    audit::{Entry, Event, durable},
    config::Settings,
    node::Node,
    text::Username,
};

/// Users per commit with `--skip-invalid`, and names that are looked up at once.
const BATCH: usize = 1_000;

/// The most users that are added in one transaction, which SQLite's other writers wait for.
const MAX_AT_ONCE: usize = 100_000;
/// The most rows that are read.
const MAX_ROWS: usize = 1_000_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The file; `-` for standard input
    file: PathBuf,
    /// The format of the file [default: jsonl or csv, detected from the first line]
    #[arg(long)]
    format: Option<Format>,
    /// The hash parameters of the Firebase project, as its console shows them
    #[arg(long, value_name = "FILE", required_if_eq("format", "firebase"))]
    hash_config: Option<PathBuf>,
    /// Check every row, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Add the valid users although others are invalid, in commits of 1000
    #[arg(long)]
    skip_invalid: bool,
    /// Create the store if there is none
    #[arg(long)]
    create: bool,
    /// Print progress, also if standard error is not a terminal
    #[arg(long)]
    progress: bool,
}

/// The format of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values (RFC 4180) under a line with the names of the columns
    Csv,
    /// Django's `dumpdata auth.user`
    Django,
    /// Keycloak's export of a realm with its users
    Keycloak,
    /// Firebase's `auth:export` as JSON; needs --hash-config
    Firebase,
    /// Auth0's export of password hashes
    Auth0,
}

impl Arguments {
    pub(super) async fn run(self, settings: &Settings, output: Output) -> anyhow::Result<ExitCode> {
        // The input first: if it cannot be opened, no store is created.
        let layout = self.layout()?;
        let input: Box<dyn io::Read + Send> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).with_context(|| format!("cannot open {}", self.file.display()))?)
        };
        audited(settings)?;
        require_unless(self.create, settings).await?;
        // A dry run creates and migrates nothing.
        let (node, accounts) = match self.dry_run {
            false => {
                let node = Node::open_for_command(settings).await?;
                let accounts = node.stores().accounts();
                (Some(node), Some(accounts))
            }
            true if exists(settings).await? => (None, Some(open_to_read(settings).await?.accounts())),
            true => (None, None),
        };
        let mode = match (self.dry_run, self.skip_invalid) {
            (true, _) => Mode::DryRun,
            (false, true) => Mode::Batches,
            (false, false) => Mode::AllOrNone,
        };
        let progress = Progress::new(self.progress, output.reader());
        let mut import = Import::new(node, accounts, mode, output, progress);
        let read = import.read(input, layout).await;
        if read.is_err() && mode != Mode::Batches {
            import.progress.end();
            return read.map(|()| ExitCode::FAILURE);
        }
        // Also after an error in the input: earlier batches have been added.
        import.summary()?;
        read?;
        let status = if import.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        import.output.finish()?;
        Ok(status)
    }

    fn layout(&self) -> anyhow::Result<Layout> {
        let source = match self.format {
            None => return Ok(Layout::Plain(None)),
            Some(Format::Jsonl) => return Ok(Layout::Plain(Some(plain::Format::Jsonl))),
            Some(Format::Csv) => return Ok(Layout::Plain(Some(plain::Format::Csv))),
            Some(Format::Django) => Source::Django,
            Some(Format::Keycloak) => Source::Keycloak,
            Some(Format::Auth0) => Source::Auth0,
            Some(Format::Firebase) => {
                let Some(file) = &self.hash_config else { bail!("--format firebase needs --hash-config") };
                let mut text = String::new();
                let opened =
                    File::open(file).and_then(|file| file.take(record::MAX_ROW_BYTES as u64).read_to_string(&mut text));
                opened.with_context(|| format!("cannot read {}", file.display()))?;
                Source::Firebase(HashConfig::parse(&text)?)
            }
        };
        Ok(Layout::Export(source))
    }
}

/// What happens to valid users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are added together in the end, if all rows are valid.
    AllOrNone,
    /// They are added batch by batch.
    Batches,
    /// They are counted.
    DryRun,
}

struct Import {
    /// Missing in a dry run.
    node: Option<Node>,
    /// The users that exist; missing in a dry run without a store.
    existing: Option<Arc<dyn AccountStore>>,
    mode: Mode,
    output: Output,
    progress: Progress,
    rows: usize,
    /// Rows whose user can be added. Until it is added, its name may be taken by another process.
    valid: usize,
    added: usize,
    failed: usize,
    without_password: usize,
    /// The last line that has been read.
    seen: usize,
    /// What the rows are called: lines, or the users of a document.
    unit: &'static str,
    /// Users that are checked next.
    waiting: Vec<(Place, Record)>,
    /// Checked users, to be added together.
    checked: Vec<(Place, Record)>,
    /// The places of the names so far.
    names: HashMap<Username, Place>,
}

impl Import {
    fn new(
        node: Option<Node>,
        existing: Option<Arc<dyn AccountStore>>,
        mode: Mode,
        output: Output,
        progress: Progress,
    ) -> Self {
        Self {
            node,
            existing,
            mode,
            output,
            progress,
            rows: 0,
            valid: 0,
            added: 0,
            failed: 0,
            without_password: 0,
            seen: 0,
            unit: "line",
            waiting: Vec::new(),
            checked: Vec::new(),
            names: HashMap::new(),
        }
    }

    async fn read(&mut self, input: Box<dyn io::Read + Send>, layout: Layout) -> anyhow::Result<()> {
        let mut found = input::start(input, layout)?;
        loop {
            match found.recv().await {
                Some(Ok(Found::Row(row))) => self.row(row).await?,
                Some(Ok(Found::Ignored(name))) => self.progress.print(&format!("note: {name} is ignored")),
                Some(Ok(Found::End)) => break,
                Some(Err(error)) => {
                    self.flush().await?;
                    return Err(error.into());
                }
                None => bail!("the input was not read to its end"),
            }
        }
        self.flush().await?;
        match self.mode {
            Mode::AllOrNone if self.failed == 0 => self.add_all().await,
            _ => Ok(()),
        }
    }

    async fn row(&mut self, row: Row) -> anyhow::Result<()> {
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.flush().await?;
            bail!("more than {MAX_ROWS} users; split the input");
        }
        self.seen = row.place.line;
        if row.place.entry.is_some() {
            self.unit = "user";
        }
        match row.record {
            Ok(record) => self.waiting.push((row.place, record)),
            Err(error @ RowError::NoPassword) => {
                self.without_password += 1;
                self.report(row.place, "skipped", &error.to_string())?;
            }
            Err(error) => self.fail(row.place, &error.to_string())?,
        }
        if self.waiting.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        match self.mode {
            Mode::Batches => self.add(rows).await?,
            Mode::AllOrNone | Mode::DryRun => self.check(rows).await?,
        }
        self.progress.at(&format!("{} read", counted(self.seen, "line")));
        Ok(())
    }

    /// Checks the names, among each other and in the store.
    async fn check(&mut self, rows: Vec<(Place, Record)>) -> anyhow::Result<()> {
        let names = rows.iter().map(|(_, record)| record.username.clone()).collect();
        let taken = match &self.existing {
            Some(accounts) => accounts.taken(names).await?,
            None => HashSet::new(),
        };
        for (place, record) in rows {
            if taken.contains(&record.username) {
                self.fail(place, &already_exists(&record.username))?;
            } else if let Some(earlier) = self.names.get(&record.username) {
                self.fail(place, &format!("{earlier} has the name {} too", record.username))?;
            } else {
                self.valid += 1;
                self.names.insert(record.username.clone(), place);
                if self.mode == Mode::AllOrNone && self.failed == 0 {
                    self.checked.push((place, record));
                }
            }
        }
        if self.failed > 0 {
            self.checked = Vec::new();
        }
        if self.checked.len() > MAX_AT_ONCE {
            bail!(
                "more than {MAX_AT_ONCE} users are not added in one transaction; nothing was added: check them with \
                 --dry-run, and add them with --skip-invalid"
            );
        }
        Ok(())
    }

    async fn add_all(&mut self) -> anyhow::Result<()> {
        let checked = std::mem::take(&mut self.checked);
        let (places, accounts) = self.accounts(checked)?;
        let Some(node) = &self.node else { return Ok(()) };
        let named: Vec<_> = accounts.iter().map(|account| (account.id.clone(), account.username.clone())).collect();
        if node.accounts.store().add_all(accounts).await.context("nothing was added")? {
            named.iter().for_each(|(id, _)| Entry::of(id).note(Event::AccountAdded, None));
            self.added = named.len();
            durable().await;
            return Ok(());
        }
        // Another process has taken some names meanwhile.
        let taken = node.accounts.store().taken(named.iter().map(|(_, name)| name.clone()).collect()).await?;
        for (place, (_, name)) in places.into_iter().zip(named).filter(|(_, (_, name))| taken.contains(name)) {
            self.valid -= 1;
            self.fail(place, &already_exists(&name))?;
        }
        Ok(())
    }

    async fn add(&mut self, rows: Vec<(Place, Record)>) -> anyhow::Result<()> {
        let (places, accounts) = self.accounts(rows)?;
        let Some(node) = &self.node else { return Ok(()) };
        let named: Vec<_> = accounts.iter().map(|account| (account.id.clone(), account.username.clone())).collect();
        let first = places.first().map(Place::to_string).unwrap_or_default();
        let added = node.accounts.store().add(accounts).await;
        let added = added.with_context(|| format!("nothing was added from {first} on"))?;
        for ((place, (id, name)), added) in places.into_iter().zip(named).zip(added) {
            if added {
                Entry::of(&id).note(Event::AccountAdded, None);
                self.valid += 1;
                self.added += 1;
            } else {
                self.fail(place, &already_exists(&name))?;
            }
        }
        durable().await;
        Ok(())
    }

    fn accounts(&self, rows: Vec<(Place, Record)>) -> anyhow::Result<(Vec<Place>, Vec<Account>)> {
        let Some(node) = &self.node else { bail!("no store is open") };
        let account = |(place, record): (Place, Record)| {
            let role = if record.is_admin { Role::Admin } else { Role::User };
            let account = node.accounts.account(record.username, record.password, role);
            let (is_disabled, must_change_password) = (record.is_disabled, record.must_change_password);
            (place, Account { is_disabled, must_change_password, ..account })
        };
        Ok(rows.into_iter().map(account).unzip())
    }

    fn fail(&mut self, place: Place, error: &str) -> anyhow::Result<()> {
        self.failed += 1;
        self.report(place, "error", error)
    }

    fn report(&mut self, place: Place, kind: &str, what: &str) -> anyhow::Result<()> {
        match self.output.reader() {
            Reader::Machine => match place {
                Place { line, entry: None } => self.output.object(&json!({ "line": line, kind: what })),
                Place { line, entry } => self.output.object(&json!({ "entry": entry, "line": line, kind: what })),
            },
            Reader::Person if kind == "skipped" => {
                self.progress.print(&format!("{place}: skipped: {what}"));
                Ok(())
            }
            Reader::Person => {
                self.progress.print(&format!("{place}: {what}"));
                Ok(())
            }
        }
    }

    fn summary(&mut self) -> anyhow::Result<()> {
        self.progress.end();
        let mut sentence = match self.mode {
            Mode::DryRun => format!("{} can be added", counted(self.valid, "user")),
            Mode::AllOrNone | Mode::Batches => format!("{} added", counted(self.added, "user")),
        };
        sentence += &format!(", {} failed", counted(self.failed, self.unit));
        if self.without_password > 0 {
            sentence += &format!(", {} skipped", counted(self.without_password, self.unit));
        }
        if self.mode == Mode::AllOrNone && self.failed > 0 && self.valid > 0 {
            sentence += &format!("; with --skip-invalid, {} can be added", counted(self.valid, "user"));
        }
        let object = json!({
            "added": self.added,
            "valid": self.valid,
            "failed": self.failed,
            "skipped": self.without_password,
        });
        self.output.result(&sentence, &object)
    }
}

fn already_exists(name: &Username) -> String {
    format!("a user with the name {name} already exists")
}
