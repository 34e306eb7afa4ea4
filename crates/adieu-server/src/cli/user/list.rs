//! `adieu user list` and `adieu user export`

use adieu::time::{Clock as _, SystemClock, Timestamp};
use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::{
    super::output::{Output, Reader, Table, written, yes},
    PAGE, object,
};
use crate::{
    accounts::{Account, AccountStore, Filter},
    calendar,
    config::parse_duration,
    text::NamePart,
};

/// The columns of an export. `adieu user import` reads those that it knows.
const COLUMNS: [&str; 7] =
    ["id", "username", "is_admin", "is_disabled", "created_at", "last_login_at", "must_change_password"];
const HASH: &str = "password_hash";

#[derive(Debug, Args)]
pub(in crate::cli) struct Conditions {
    /// Only users whose name contains this; ASCII letters match in either case
    #[arg(long, value_name = "PART", value_parser = name_part, allow_hyphen_values = true)]
    name: Option<NamePart>,
    /// Only administrators, or with `=false` only others
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    admin: Option<bool>,
    /// Only disabled users, or with `=false` only others
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disabled: Option<bool>,
    /// Only users who have not logged in since a date (2026-11-29, in UTC) or for a time (90d); who has never logged in
    /// counts by the time of being added
    #[arg(long, value_name = "DATE|TIME", value_parser = moment)]
    inactive_since: Option<Timestamp>,
    /// Only users who have logged in since a date or within a time
    #[arg(long, value_name = "DATE|TIME", value_parser = moment)]
    active_since: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    conditions: Conditions,
    /// Write comma-separated values under a line with the names of the columns, instead of a JSON object a line
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Write the password hashes too; with them, passwords can be tried without any limit
    #[arg(long)]
    with_password_hashes: bool,
}

impl Conditions {
    fn filter(self) -> Filter {
        Filter {
            name: self.name,
            is_admin: self.admin,
            is_disabled: self.disabled,
            last_login_before: self.inactive_since,
            last_login_since: self.active_since,
        }
    }

    pub(super) async fn list(self, accounts: &dyn AccountStore, output: &mut Output) -> anyhow::Result<()> {
        let mut table = Table::new(["ID", "NAME", "ADMIN", "DISABLED", "CREATED", "LAST LOGIN"]);
        each(accounts, &self.filter(), output, |output, account| match output.reader() {
            Reader::Machine => output.object(&object(account)),
            Reader::Person => {
                let row = [
                    account.id.to_string(),
                    account.username.to_string(),
                    yes(account.is_admin),
                    yes(account.is_disabled),
                    written(account.created_at),
                    account.last_login_at.map(written).unwrap_or_default(),
                ];
                table.row(output, row)
            }
        })
        .await?;
        if output.reader() == Reader::Person { table.print(output) } else { Ok(()) }
    }
}

impl Export {
    pub(super) async fn run(self, accounts: &dyn AccountStore, output: &mut Output) -> anyhow::Result<()> {
        let Self { conditions, csv, with_password_hashes } = self;
        let mut columns = COLUMNS.to_vec();
        columns.extend(with_password_hashes.then_some(HASH));
        if csv {
            output.text(&line(columns.iter().copied())?)?;
        }
        each(accounts, &conditions.filter(), output, |output, account| {
            let mut record = object(account);
            if with_password_hashes && let Some(members) = record.as_object_mut() {
                members.insert(HASH.to_owned(), account.password.as_str().into());
            }
            if !csv {
                return output.object(&record);
            }
            let value = |column: &&str| match record.get(*column) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            output.text(&line(columns.iter().map(value))?)
        })
        .await
    }
}

/// Calls `print` with every account that meets the filter, until the reader of the output is gone.
async fn each(
    accounts: &dyn AccountStore,
    filter: &Filter,
    output: &mut Output,
    mut print: impl FnMut(&mut Output, &Account) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = accounts.list(filter, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        page.iter().try_for_each(|account| print(output, account))?;
        if output.is_over() {
            return Ok(());
        }
    }
}

/// Returns a line of comma-separated values.
fn line(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(values).context("cannot print")?;
    String::from_utf8(writer.into_inner().context("cannot print")?).context("cannot print")
}

fn name_part(text: &str) -> Result<NamePart, String> {
    NamePart::new(text).map_err(|refusal| super::super::prompt::phrase(&refusal))
}

/// Parses a date, or a time ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(SystemClock.now().minus(ago));
    }
    calendar::date(text).ok_or_else(|| r#"not a date, such as "2026-11-29", or a time, such as "90d""#.to_owned())
}
