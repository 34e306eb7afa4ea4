//! `adieu alias`

use std::process::ExitCode;

use adieu::{
    Issuer, Subject,
    time::{Clock as _, SystemClock},
};
use adieu_events::{Alias, AliasKind};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    on_store::{OnStore, audited, open_stores, open_to_read},
    output::{Output, Reader, Table, counted_as, written},
};
use crate::{
    aliases::{AliasFilter, AliasStore, KnownAlias, Named, Removal, add},
    audit::{Entry, Event},
};

/// The aliases that are read at once.
const PART: usize = 500;

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add an alias: events of the issuer that name a user by it end this subject too
    Add {
        /// The issuer of the user's tokens (`iss`), a `trusted_issuer` of the settings
        #[arg(long, value_name = "ISSUER", allow_hyphen_values = true)]
        issuer: Issuer,
        /// The `sub` of the user's tokens
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        subject: Subject,
        /// email, phone_number, account, did or uri
        format: AliasKind,
        /// The e-mail address, phone number, `acct` URI, DID or URI
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// List the aliases
    List {
        /// Only those of this issuer
        #[arg(long, value_name = "ISSUER", allow_hyphen_values = true)]
        issuer: Option<Issuer>,
        /// Only those of this subject
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        subject: Option<Subject>,
        #[command(flatten)]
        alias: OneAlias,
    },
    /// Remove an alias of all subjects or of one, or all aliases of a subject
    Remove {
        /// The issuer of the user's tokens (`iss`)
        #[arg(long, value_name = "ISSUER", allow_hyphen_values = true)]
        issuer: Issuer,
        /// The `sub` of the user's tokens
        #[arg(long, value_name = "ID", allow_hyphen_values = true, required_unless_present = "format")]
        subject: Option<Subject>,
        #[command(flatten)]
        alias: OneAlias,
    },
}

#[derive(Debug, Args)]
pub(super) struct OneAlias {
    /// email, phone_number, account, did or uri
    #[arg(requires = "value")]
    format: Option<AliasKind>,
    /// The e-mail address, phone number, `acct` URI, DID or URI
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
}

impl OneAlias {
    fn read(self) -> anyhow::Result<Option<Alias>> {
        match (self.format, self.value) {
            (Some(kind), Some(value)) => Ok(Some(Alias::new(kind, &value)?)),
            _ => Ok(None),
        }
    }
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::Add { issuer, subject, format, value } => {
                audited(&settings)?;
                let alias = Alias::new(format, &value)?;
                ensure!(settings.trusts(issuer.as_str()), "{issuer} is not a trusted_issuer of the settings");
                let store = open_stores(&settings).await?.aliases();
                let now = SystemClock.now();
                let known = KnownAlias { named: Named { issuer, alias, subject }, seen_at: now };
                add(&*store, known.named.clone(), now).await?;
                record(Event::AliasAdded, &known.named.issuer, Some(&known.named.subject), Some(format)).await;
                let Named { issuer, alias, subject } = &known.named;
                let sentence = format!("added the {} {} of the subject {subject} of {issuer}", format, alias.value());
                output.result(&sentence, &object(&known))?;
            }
            Command::List { issuer, subject, alias } => {
                let filter = AliasFilter { issuer, subject, alias: alias.read()? };
                list(&*open_to_read(&settings).await?.aliases(), &filter, &mut output).await?;
            }
            Command::Remove { issuer, subject, alias } => {
                audited(&settings)?;
                let alias = alias.read()?;
                let kind = alias.as_ref().map(Alias::kind);
                let which = match (alias, subject.clone()) {
                    (Some(alias), subject) => Removal::Alias(alias, subject),
                    (None, Some(subject)) => Removal::Subject(subject),
                    (None, None) => bail!("--subject or an alias is needed"),
                };
                let removed = open_stores(&settings).await?.aliases().remove_aliases(&issuer, &which).await?;
                ensure!(removed > 0, "there is no such alias of {issuer}");
                record(Event::AliasesRemoved, &issuer, subject.as_ref(), kind).await;
                let number = usize::try_from(removed).context("too many aliases")?;
                let aliases = counted_as(number, "alias", "aliases");
                output.result(&format!("removed {aliases} of {issuer}"), &json!({ "removed": removed }))?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(store: &dyn AliasStore, filter: &AliasFilter, output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(["ISSUER", "FORMAT", "VALUE", "SUBJECT", "LAST SEEN"]);
    let mut after = None;
    loop {
        let part = store.aliases(filter, after.as_ref(), PART).await?;
        for known in &part {
            match output.reader() {
                Reader::Machine => output.object(&object(known))?,
                Reader::Person => {
                    let Named { issuer, alias, subject } = &known.named;
                    let (kind, value) = (alias.kind().to_string(), alias.value().to_owned());
                    let row = [issuer.to_string(), kind, value, subject.to_string(), written(known.seen_at)];
                    table.row(output, row)?;
                }
            }
        }
        let Some(last) = part.last() else { break };
        after = Some(last.named.clone());
    }
    if output.reader() == Reader::Person {
        table.print(output)?;
    }
    Ok(())
}

async fn record(event: Event, issuer: &Issuer, subject: Option<&Subject>, kind: Option<AliasKind>) {
    let (issuer, subject) = (Some(issuer.clone()), subject.cloned());
    Entry { issuer, subject, scope: kind.map(AliasKind::as_str), ..Entry::default() }.record(event, None).await;
}

fn object(KnownAlias { named: Named { issuer, alias, subject }, seen_at }: &KnownAlias) -> Value {
    json!({
        "issuer": issuer,
        "subject": subject,
        "format": alias.kind().as_str(),
        "value": alias.value(),
        "seen_at": seen_at,
    })
}
