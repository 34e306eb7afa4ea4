//! `adieu token inspect`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use adieu::time::Timestamp;
use serde_json::Value;

use super::{
    super::{
        on_store::{open, open_to_read},
        output::{Output, Reader, Table, written},
    },
    keys_for,
};
use crate::{
    config::Settings,
    inspection::{Findings, SessionState, Signature, TIMES, Verdict, judge},
};

pub(super) async fn run(token: &str, settings: &Settings, mut output: Output) -> anyhow::Result<ExitCode> {
    // A node migrates its store, which a command that only reads must not.
    drop(open_to_read(settings).await?);
    let node = open(settings).await?;
    if let Err(error) = keys_for(token, &node).await {
        // Without standard error there is no place to report this.
        let _told = writeln!(io::stderr(), "warning: {error}");
    }
    let findings = judge(token, &node).await?;
    match output.reader() {
        Reader::Machine => output.object(&findings)?,
        Reader::Person => show(&findings, &mut output)?,
    }
    output.finish()?;
    Ok(if findings.verdict == Verdict::Good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(findings: &Findings, output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::bare();
    let verdict = match &findings.reason {
        None => "good".to_owned(),
        Some(reason) => format!("refused: {reason}"),
    };
    table.row(output, ["token".to_owned(), verdict])?;
    let signature = match findings.signature {
        Signature::Good => "good",
        Signature::Wrong => "wrong: nothing below can be trusted",
        Signature::NotChecked => "not checked: nothing below can be trusted",
    };
    table.row(output, ["signature".to_owned(), signature.to_owned()])?;
    let session = match findings.session {
        SessionState::Live => "live",
        SessionState::Ended => "ended",
        SessionState::None => "",
    };
    table.row(output, ["session".to_owned(), session.to_owned()])?;
    for (name, value) in findings.header.iter().flatten() {
        table.row(output, [format!("header {name}"), shown(value)])?;
    }
    for (name, value) in findings.claims.iter().flatten() {
        let time = value.as_u64().filter(|_| TIMES.contains(&name.as_str())).map(Timestamp::from_unix);
        let value = match time {
            Some(time) => format!("{value} ({})", written(time)),
            None => shown(value),
        };
        table.row(output, [format!("claim {name}"), value])?;
    }
    table.print(output)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
