//! `adieu user import`

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{
    super::{
        on_store::{audited, require_unless},
        output::{Output, Reader, counted},
        progress::Progress,
    },
    lines::{Format, Lines, Record},
};
use crate::{
    accounts::{Account, Role},
    audit::{Entry, Event, durable},
    config::Settings,
    node::Node,
};

/// Users per commit.
const BATCH: usize = 1_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The file; `-` for standard input
    file: PathBuf,
    /// The format of the file [default: detected from the first line]
    #[arg(long)]
    format: Option<Format>,
    /// Create the store if there is none
    #[arg(long)]
    create: bool,
    /// Print progress, also if standard error is not a terminal
    #[arg(long)]
    progress: bool,
}

impl Arguments {
    pub(super) async fn run(self, settings: &Settings, output: Output) -> anyhow::Result<ExitCode> {
        // The input first: if it cannot be opened, no store is created.
        let input: Box<dyn BufRead> = if self.file.as_os_str() == "-" {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(&self.file).with_context(|| format!("cannot open {}", self.file.display()))?;
            Box::new(BufReader::new(file))
        };
        audited(settings)?;
        require_unless(self.create, settings)?;
        let node = Node::open_for_command(settings).await?;
        let progress = Progress::new(self.progress, output.reader());
        let mut import = Import { node, output, progress, added: 0, failed: 0, seen: 0, waiting: Vec::new() };
        let read = import.read(Lines::new(input, self.format)).await;
        // Also after an error in the input: earlier lines have been imported.
        import.summary()?;
        read?;
        let status = if import.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        import.output.finish()?;
        Ok(status)
    }
}

struct Import {
    node: Node,
    output: Output,
    progress: Progress,
    added: usize,
    failed: usize,
    /// Lines that have been processed.
    seen: usize,
    /// Accounts for the next commit, with the numbers of their lines.
    waiting: Vec<(usize, Account)>,
}

impl Import {
    async fn read(&mut self, mut lines: Lines<Box<dyn BufRead>>) -> anyhow::Result<()> {
        while let Some((number, record)) = lines.next()? {
            for name in lines.take_ignored() {
                self.progress.print(&format!("note: {name} is ignored"));
            }
            match record {
                Ok(record) => self.waiting.push((number, self.account(record))),
                Err(error) => self.fail(number, &error.to_string())?,
            }
            self.seen = number;
            if self.waiting.len() >= BATCH {
                self.commit().await?;
            }
        }
        self.commit().await
    }

    fn account(&self, record: Record) -> Account {
        let role = if record.is_admin { Role::Admin } else { Role::User };
        let mut account = self.node.accounts.account(record.username, record.password, role);
        account.is_disabled = record.is_disabled;
        account
    }

    async fn commit(&mut self) -> anyhow::Result<()> {
        let (numbers, accounts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let named: Vec<_> = accounts.iter().map(|account| (account.id.clone(), account.username.clone())).collect();
        let first = numbers.first().copied().unwrap_or_default();
        let added = self.node.accounts.store().add(accounts).await;
        let added = added.with_context(|| format!("nothing was added from line {first} on"))?;
        for ((number, (id, name)), added) in numbers.into_iter().zip(named).zip(added) {
            if added {
                Entry::of(&id).note(Event::AccountAdded, None);
                self.added += 1;
            } else {
                self.fail(number, &format!("a user with the name {name} already exists"))?;
            }
        }
        durable().await;
        self.progress.at(&format!("{} read", counted(self.seen, "line")));
        Ok(())
    }

    fn fail(&mut self, number: usize, error: &str) -> anyhow::Result<()> {
        self.failed += 1;
        match self.output.reader() {
            Reader::Machine => self.output.object(&json!({ "line": number, "error": error })),
            Reader::Person => {
                self.progress.print(&format!("line {number}: {error}"));
                Ok(())
            }
        }
    }

    fn summary(&mut self) -> anyhow::Result<()> {
        self.progress.end();
        let sentence = format!("{} added, {} failed", counted(self.added, "user"), counted(self.failed, "line"));
        self.output.result(&sentence, &json!({ "added": self.added, "failed": self.failed }))
    }
}
