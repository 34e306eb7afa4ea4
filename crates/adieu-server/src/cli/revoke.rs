//! `adieu revoke`

use std::process::ExitCode;

use adieu::{
    Issuer, Subject,
    revocation::RevokedClaim,
    session::{RevocationRequest, RevocationTarget},
    token::KeyId,
};
use anyhow::ensure;
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
    /// The issuer of the tokens (`iss`) [default: this server]
    #[arg(long, value_name = "ISSUER", allow_hyphen_values = true, conflicts_with_all = ["user", "everything"])]
    issuer: Option<Issuer>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Every token of this subject (`sub`) issued until now; it need not be a user of this server
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    subject: Option<Subject>,
    /// Every token of this user issued until now
    #[arg(long, value_name = "NAME|ID", allow_hyphen_values = true)]
    user: Option<String>,
    /// Every token issued until now that has this claim, one of `revocable_claims`, such as tenant=acme
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim, allow_hyphen_values = true)]
    claim: Option<RevokedClaim>,
    /// Every token that the key with this `kid` has signed or ever will, for ever; one of this server is removed with `adieu key remove`
    #[arg(long, value_name = "KID", value_parser = key, allow_hyphen_values = true)]
    key: Option<KeyId>,
    /// Every token issued until now
    #[arg(long)]
    everything: bool,
}

fn claim(text: &str) -> Result<RevokedClaim, String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    RevokedClaim::new(name, value).map_err(|error| error.to_string())
}

fn key(text: &str) -> Result<KeyId, String> {
    KeyId::new(text).map_err(|_| "not a text of 1 to 256 bytes".to_owned())
}

impl Arguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Whose { subject, user, claim, key, everything: _ } = self.whose;
        let settings = self.common.settings()?;
        audited(&settings)?;
        let node = open(&settings).await?;
        let issuer = self.issuer.filter(|issuer| issuer != node.sessions.issuer());
        let subject = match &user {
            Some(user) => Some(find(node.accounts.store(), user).await?.id),
            None => subject,
        };
        if let Some(claim) = &claim {
            let issuer = issuer.as_ref().map_or(&*settings.issuer, Issuer::as_str);
            ensure!(
                settings.revocable_claims(issuer).contains(claim.name()),
                "{} is not one of the revocable_claims of {issuer} in the settings",
                claim.name()
            );
        }
        if let (Some(key), None) = (&key, &issuer) {
            let is_it = |own: &adieu::token::SigningKey| own.verifying_key().key_id() == Some(key);
            let is_own = node.core.signing_keys().iter().any(is_it);
            ensure!(!is_own, "{key} is a key of this server; remove it with `adieu key remove`");
        }
        let (whose, what, target) = match (&user, &subject, &claim, &key) {
            (Some(user), Some(id), ..) => (format!("of {user}"), "subject", RevocationTarget::Subject(id.clone())),
            (_, Some(id), ..) => (format!("of the subject {id}"), "subject", RevocationTarget::Subject(id.clone())),
            (_, _, Some(claim), _) => {
                let whose = format!("with {}={}", claim.name(), claim.value());
                (whose, "claim", RevocationTarget::Claim(claim.clone()))
            }
            (_, _, _, Some(key)) => (format!("of the key {key}"), "key", RevocationTarget::Key(key.clone())),
            _ => ("of everybody".to_owned(), "everything", RevocationTarget::Everything),
        };
        let question = match what {
            "key" => format!("revoke for ever every token {whose}"),
            "claim" => format!("revoke every token {whose}"),
            _ => format!("end every session and revoke every token {whose}"),
        };
        confirm(&question, self.yes)?;
        let mut request = RevocationRequest::new(target);
        request.issuer = issuer.clone();
        let requests = vec![request];
        let lead = node.sessions.cut_off_lead(&requests);
        let ended = node.sessions.revoke(requests).await?.into_iter().sum();
        if let Some(lead) = lead {
            node.sessions.wait_past_cut_off(lead).await;
        }
        let entry = Entry {
            subject: subject.clone(),
            key_id: key.as_ref().map(KeyId::to_string),
            claim: claim.clone(),
            issuer: issuer.clone(),
            scope: Some(what),
            sessions_ended: Some(ended),
            ..Entry::default()
        };
        entry.record(Event::Revoked, None).await;
        let mut output = self.common.output();
        let mut object = json!({ "revoked": what, "subject": subject, "sessions_ended": ended });
        if let Some(object) = object.as_object_mut() {
            let more = [
                ("key", key.map(|key| json!(key))),
                ("claim", claim.map(|claim| json!(claim))),
                ("issuer", issuer.map(|issuer| json!(issuer))),
            ];
            object.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        output.result(&format!("revoked every token {whose}; {} ended", counted(ended, "session")), &object)?;
        output.finish()?;
        Ok(ExitCode::SUCCESS)
    }
}
