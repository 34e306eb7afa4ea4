//! `adieu doctor`: checks what a server needs, one line for each check or problem.

mod machine;
mod service;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{
    on_store::Common,
    output::{Output, Reader, Table},
};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

/// How serious a finding is. The greatest one of all findings is the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok = 0,
    Warn = 1,
    Fail = 2,
}

/// What a check found: without a problem, one finding that says what was checked, or else one for each problem, which ends
/// with what to do.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    message: String,
}

/// Collects the findings of one check.
struct Check<'found> {
    name: &'static str,
    found: &'found mut Vec<Finding>,
}

impl<'found> Check<'found> {
    fn new(name: &'static str, found: &'found mut Vec<Finding>) -> Self {
        Self { name, found }
    }

    fn add(&mut self, status: Status, message: impl Into<String>) {
        self.found.push(Finding { check: self.name, status, message: message.into() });
    }

    fn ok(&mut self, message: impl Into<String>) {
        self.add(Status::Ok, message);
    }

    fn warn(&mut self, message: impl Into<String>) {
        self.add(Status::Warn, message);
    }

    fn fail(&mut self, message: impl Into<String>) {
        self.add(Status::Fail, message);
    }

    /// Adds each problem as a warning, or, if there is none, that all is well.
    fn warn_of_all(&mut self, problems: Vec<String>, otherwise: &str) {
        if problems.is_empty() {
            self.ok(otherwise);
        }
        for problem in problems {
            self.warn(problem);
        }
    }
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let found = self.examine().await;
        let mut output = self.common.output();
        print(&found, &mut output)?;
        output.finish()?;
        let worst = found.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
        Ok(ExitCode::from(worst as u8))
    }

    async fn examine(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        // Not those of a command, which would open the audit trail.
        let (settings, origins) = match Settings::load_with_origins(&self.common.flags(), std::env::vars_os()) {
            Ok((settings, origins)) => {
                let changed = origins.iter().filter(|found| found.is_set()).count();
                Check::new("settings", &mut found).ok(format!("{changed} of {} are set", origins.len()));
                (settings, origins)
            }
            Err(error) => {
                Check::new("settings", &mut found)
                    .fail(format!("{error}; `adieu config` prints every setting and its default"));
                return found;
            }
        };
        machine::files(&settings, &origins, Check::new("files", &mut found));
        machine::audit_log(&settings, Check::new("audit", &mut found));
        machine::disk(&settings, Check::new("disk", &mut found));
        machine::space(&settings, Check::new("space", &mut found));
        machine::descriptors(&settings, Check::new("descriptors", &mut found));
        let log = service::store(&settings, Check::new("store", &mut found)).await;
        machine::clock(&settings, log.as_ref(), Check::new("clock", &mut found));
        service::network(&settings, Check::new("network", &mut found));
        machine::addresses(&settings, Check::new("listen", &mut found));
        service::certificate(&settings, Check::new("tls", &mut found));
        service::proxies(&settings, Check::new("proxies", &mut found));
        service::issuers(&settings, Check::new("issuers", &mut found)).await;
        service::webhooks(&settings, Check::new("webhooks", &mut found));
        found
    }
}

fn print(found: &[Finding], output: &mut Output) -> anyhow::Result<()> {
    if output.reader() == Reader::Machine {
        return found.iter().try_for_each(|finding| output.object(finding));
    }
    let mut table = Table::bare();
    for Finding { check, status, message } in found {
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        table.row(output, [status.to_owned(), (*check).to_owned(), message.clone()])?;
    }
    table.print(output)
}
