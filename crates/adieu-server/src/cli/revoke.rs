//! `adieu revoke`

use std::process::ExitCode;

use adieu::Subject;
use clap::Args;
use serde_json::json;

use super::{
    on_store::{Common, audited, find, open},
    output::counted,
    prompt::confirm,
};
use crate::audit::{Entry, Event};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    whose: Whose,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Every token of this subject (`sub`) issued until now; it need not be a user of this server
    #[arg(long, value_name = "ID")]
    subject: Option<Subject>,
    /// Every token of this user issued until now
    #[arg(long, value_name = "NAME|ID")]
    user: Option<String>,
    /// Every token issued until now
    #[arg(long)]
    everything: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let whose = match (&self.whose.user, &self.whose.subject) {
            (Some(user), _) => format!("of {user}"),
            (_, Some(subject)) => format!("of the subject {subject}"),
            (None, None) => "of everybody".to_owned(),
        };
        let settings = self.common.settings()?;
        audited(&settings)?;
        let node = open(&settings).await?;
        let subject = match &self.whose.user {
            Some(user) => Some(find(node.accounts.store(), user).await?.id),
            None => self.whose.subject,
        };
        confirm(&format!("end every session and revoke every token {whose}"), self.yes)?;
        let ended = match subject.clone() {
            Some(subject) => node.sessions.revoke_subject(subject).await?,
            None => node.sessions.revoke_everything().await?,
        };
        let what = if subject.is_some() { "subject" } else { "everything" };
        Entry { subject: subject.clone(), scope: Some(what), sessions_ended: Some(ended), ..Entry::default() }
            .record(Event::Revoked, None)
            .await;
        let mut output = self.common.output();
        output.result(
            &format!("revoked every token {whose}; {} ended", counted(ended, "session")),
            &json!({ "revoked": what, "subject": subject, "sessions_ended": ended }),
        )?;
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}
