//! `adieu session`

use std::process::ExitCode;

use adieu::{
    SessionId,
    session::{Selection, Session, SessionKey},
    time::{Clock as _, SystemClock},
};
use anyhow::ensure;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    on_store::{OnStore, audited, find, open, open_to_read},
    output::{Output, Reader, Table, counted, written},
};
use crate::{
    audit::{Entry, Event},
    store::Stores,
};

/// Sessions that are read at once.
const PAGE: usize = 500;

pub(super) type Arguments = OnStore<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the sessions that have not ended, user by user, each user's oldest first
    List {
        /// Only the sessions of this user
        #[arg(long, value_name = "NAME|ID", allow_hyphen_values = true)]
        user: Option<String>,
    },
    /// End one session, or all of a user
    End(Which),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The id of the session, as in the list
    #[arg(allow_hyphen_values = true)]
    session: Option<SessionId>,
    /// All sessions of this user
    #[arg(long, value_name = "NAME|ID", allow_hyphen_values = true)]
    user: Option<String>,
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.common.settings()?;
        let mut output = self.common.output();
        match self.command {
            Command::List { user } => list(&open_to_read(&settings).await?, user, &mut output).await?,
            Command::End(which) => {
                audited(&settings)?;
                let node = open(&settings).await?;
                let selection = match (which.session, which.user) {
                    (Some(id), _) => Selection::One(id),
                    (None, Some(user)) => Selection::OfSubject(find(node.accounts.store(), &user).await?.id),
                    (None, None) => Selection::Nothing,
                };
                let user = match &selection {
                    Selection::One(id) => node.sessions.store().session(id).await?.map(|session| session.subject),
                    Selection::OfSubject(subject) => Some(subject.clone()),
                    _ => None,
                };
                let ended = node.sessions.end_sessions(selection.clone()).await?;
                if let Selection::One(id) = &selection {
                    ensure!(ended > 0, "no session with the id {id}; it may have ended already");
                }
                let session = if let Selection::One(id) = selection { Some(id) } else { None };
                Entry { session, subject: user, sessions_ended: Some(ended), ..Entry::default() }
                    .record(Event::SessionsEnded, None)
                    .await;
                output.result(&format!("{} ended", counted(ended, "session")), &json!({ "sessions_ended": ended }))?;
            }
        }
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(stores: &Stores, user: Option<String>, output: &mut Output) -> anyhow::Result<()> {
    let (accounts, core) = (stores.accounts(), stores.core());
    let subject = match user {
        Some(user) => Some(find(&*accounts, &user).await?.id),
        None => None,
    };
    let now = SystemClock.now();
    let mut table = Table::new(["ID", "USER", "SINCE", "LAST SEEN", "ADDRESS", "USER AGENT"]);
    let mut after: Option<SessionKey> = None;
    loop {
        let page = match &subject {
            Some(subject) => core.sessions_of(subject, after.as_ref().map(|key| &key.id), PAGE).await?,
            None => core.sessions(after.as_ref(), PAGE).await?,
        };
        let Some(last) = page.last() else { break };
        after = Some(last.key());
        // Expired sessions only wait to be deleted.
        for session in page.iter().filter(|session| session.is_live(now)) {
            let user = accounts.by_id(&session.subject).await?.map(|account| account.username.to_string());
            show(session, user, &mut table, output)?;
        }
        if output.is_over() {
            return Ok(());
        }
    }
    if output.reader() == Reader::Person { table.print(output) } else { Ok(()) }
}

fn show(session: &Session, user: Option<String>, table: &mut Table<6>, output: &mut Output) -> anyhow::Result<()> {
    match output.reader() {
        Reader::Machine => output.object(&json!({
            "id": session.id,
            "user_id": session.subject,
            "username": user,
            "created_at": session.created_at,
            "last_seen_at": session.last_seen_at,
            "expires_at": session.refresh_expires_at,
            "address": session.origin.address,
            "user_agent": session.origin.user_agent,
        })),
        Reader::Person => {
            let row = [
                session.id.to_string(),
                user.unwrap_or_else(|| session.subject.to_string()),
                written(session.created_at),
                written(session.last_seen_at),
                session.origin.address.map(|address| address.to_string()).unwrap_or_default(),
                session.origin.user_agent.clone().unwrap_or_default(),
            ];
            table.row(output, row)
        }
    }
}
