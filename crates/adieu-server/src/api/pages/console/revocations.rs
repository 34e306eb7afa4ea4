//! Revocations: those in force, and new ones.

use std::{collections::VecDeque, time::Duration};

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Cursor, Position, Revocation, RevocationLog, RevokedClaim, Target, TargetKind},
    session::RevocationTarget,
    time::Timestamp,
    token::KeyId,
};
use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use super::{
    super::super::{revocation::Item, view::Part},
    Answer, Client, Fields, MoreTime, Operator, Pages, Refusal, Wait, answer, argument, conclude, done_everywhere,
    input, quoted, url,
};
use crate::{
    accounts::{self, Account},
    audit, calendar,
    error::ApiError,
    hang_up::for_the_response,
    pages::{Confirm, RevocationKind, RevocationRow, RevocationsPage, Section},
};

/// Revocations on one page.
const PAGE: usize = 100;

/// How many entries a search reads before it shows what it has found.
const SEARCHED: usize = 100_000;

/// The word that confirms that everything is revoked.
const EVERYTHING: &str = "everything";

/// What was chosen to be revoked.
struct Chosen {
    kind: RevocationKind,
    value: String,
    target: RevocationTarget,
    /// The issuer of the tokens, if it is another than this server.
    issuer: Option<Issuer>,
    /// The user, if it is one of this server.
    account: Option<Account>,
}

impl Chosen {
    async fn read(pages: &Pages, kind: RevocationKind, value: &str, issuer: &str) -> Result<Self, Refusal> {
        let not_a_value = || Refusal::known(ApiError::NotFound, |t| t.console.not_a_value);
        let own = pages.api.node.sessions.issuer();
        let not_of_issuer = || Refusal::known(ApiError::NotFound, |t| t.console.not_of_issuer);
        let issuer = match issuer {
            "" => None,
            name if name == own.as_str() => None,
            name if kind.can_be_of_another_issuer() && pages.api.settings.trusts(name) => {
                Some(Issuer::new(name).map_err(|_| not_of_issuer())?)
            }
            _ => return Err(not_of_issuer()),
        };
        let mut account = None;
        let target = match kind {
            RevocationKind::User => {
                let found = accounts::find(pages.api.node.accounts.store(), value).await?;
                let found = found.ok_or(Refusal::known(ApiError::NotFound, |t| t.console.no_such_user))?;
                RevocationTarget::Subject(account.insert(found).id.clone())
            }
            RevocationKind::Of(TargetKind::Session) => {
                RevocationTarget::Session(SessionId::new(value).map_err(|_| not_a_value())?)
            }
            RevocationKind::Of(TargetKind::Token) => {
                RevocationTarget::Token { id: TokenId::new(value).map_err(|_| not_a_value())?, expires_at: None }
            }
            RevocationKind::Of(TargetKind::Subject) => {
                RevocationTarget::Subject(Subject::new(value).map_err(|_| not_a_value())?)
            }
            RevocationKind::Of(TargetKind::Claim) => {
                let (name, value) = value.split_once('=').ok_or_else(not_a_value)?;
                RevocationTarget::Claim(RevokedClaim::new(name, value).map_err(|_| not_a_value())?)
            }
            RevocationKind::Of(TargetKind::Key) => RevocationTarget::Key(KeyId::new(value).map_err(|_| not_a_value())?),
            RevocationKind::Of(_) => RevocationTarget::Everything,
        };
        Ok(Self { kind, value: value.to_owned(), target, issuer, account })
    }

    fn item(&self, pages: &Pages) -> Result<Item, Refusal> {
        Item::new(self.target.clone(), self.issuer.clone(), &pages.api).map_err(|error| match (error, &self.target) {
            (error @ ApiError::Invalid(_), RevocationTarget::Claim(_)) => {
                Refusal::known(error, |t| t.console.not_a_claim)
            }
            (error @ ApiError::Invalid(_), _) => Refusal::known(error, |t| t.console.own_key),
            (error, _) => error.into(),
        })
    }

    async fn confirm(&self, pages: &Pages, operator: &Operator) -> Result<Confirm, Refusal> {
        // What can't be revoked is said before it is confirmed.
        self.item(pages)?;
        let c = operator.visit.language.messages().console;
        let node = &pages.api.node;
        let mut effects = Vec::new();
        let is_own = self.issuer.is_none();
        let (argument, mut body): (String, Value) = match &self.target {
            RevocationTarget::Subject(id) => {
                if is_own {
                    let sessions = pages.api.sessions_of(id, &Part::longest(), &operator.token).await?.sessions.len();
                    effects.push((c.sessions_end)(sessions));
                }
                effects.push(c.effect_subject.to_owned());
                match &self.account {
                    Some(account) => {
                        effects.push(c.effect_log_in_again.to_owned());
                        (format!("revoke --user {}", argument(account)), json!({"subject": id.as_str()}))
                    }
                    None => (format!("revoke --subject {}", quoted(id.as_str())), json!({"subject": id.as_str()})),
                }
            }
            RevocationTarget::Session(id) => {
                if is_own {
                    let session = node.sessions.store().session(id).await?;
                    effects.push((c.sessions_end)(usize::from(session.is_some())));
                }
                effects.push(c.effect_session.to_owned());
                (format!("session end {}", quoted(id.as_str())), json!({"session": id.as_str()}))
            }
            RevocationTarget::Token { id, .. } => {
                effects.push(c.effect_token.to_owned());
                (format!("token revoke --id {}", quoted(id.as_str())), json!({"token_id": id.as_str()}))
            }
            RevocationTarget::Claim(claim) => {
                effects.push(c.effect_claim.to_owned());
                let argument = quoted(&format!("{}={}", claim.name(), claim.value()));
                (
                    format!("revoke --claim {argument}"),
                    json!({"claim": {"name": claim.name().as_str(), "value": claim.value()}}),
                )
            }
            RevocationTarget::Key(id) => {
                effects.push(c.effect_key.to_owned());
                (format!("revoke --key {}", quoted(id.as_str())), json!({"key": id.as_str()}))
            }
            _ => {
                effects.push(c.effect_everything.to_owned());
                ("revoke --everything".to_owned(), json!({"everything": true}))
            }
        };
        let is_everything = matches!(self.target, RevocationTarget::Everything);
        let mut title = format!("{}: {} {}", c.revoke, self.kind.name(c), self.name()).trim_end().to_owned();
        let mut command = format!("adieu {argument}");
        let mut fields = vec![("kind", self.kind.value().to_owned()), ("value", self.value.clone())];
        if let Some(issuer) = &self.issuer {
            title = format!("{title} {} {issuer}", c.of_issuer);
            command = match argument.starts_with("revoke ") {
                true => format!("{command} --issuer {}", quoted(issuer.as_str())),
                // The other commands are about this server.
                false => String::new(),
            };
            if let Some(body) = body.as_object_mut() {
                body.insert("issuer".to_owned(), json!(issuer));
            }
            fields.push(("issuer", issuer.to_string()));
        }
        Ok(Confirm {
            title,
            effects,
            command,
            call: format!("POST /revocations?wait=everywhere\n{body}"),
            action: Section::Revocations.path().to_owned(),
            fields,
            typed: is_everything.then_some(EVERYTHING),
            needs_password: is_everything || matches!(self.target, RevocationTarget::Key(_)),
            is_dangerous: true,
            back: Section::Revocations.path().to_owned(),
        })
    }

    /// Returns what was chosen, for people.
    fn name(&self) -> &str {
        match &self.account {
            Some(account) => account.username.as_str(),
            None => &self.value,
        }
    }
}

/// `GET /console/revocations`, with `kind`, `value` and `issuer` for a revocation to confirm; `find` and `after` for the list.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let query = &operator.query;
    let kind = RevocationKind::with_value(&query.text("kind"));
    let (value, issuer) = (query.text("value"), query.text("issuer"));
    let chosen = async {
        match kind {
            Some(kind) => {
                let chosen = Chosen::read(&pages, kind, &value, &issuer).await?;
                Ok(Some(chosen.confirm(&pages, &operator).await?))
            }
            None => Ok(None),
        }
    };
    let page = page(&pages, &operator, kind, value.clone(), issuer.clone());
    match chosen.await {
        Ok(confirm) => answer(&operator.visit, page.await.map(|page| RevocationsPage { confirm, ..page })),
        Err(refusal) => conclude(&operator.visit, Err(refusal), page).await,
    }
}

async fn page(
    pages: &Pages,
    operator: &Operator,
    kind: Option<RevocationKind>,
    value: String,
    issuer: String,
) -> Answer<RevocationsPage> {
    let (page, frame) = operator.frame(pages, Section::Revocations).await?;
    let find = operator.query.text("find");
    let (log, head) = (pages.api.node.core.log(), pages.api.node.core.applied().borrow().clone());
    let (found, next) = match head {
        Some(head) if find.is_empty() => (newest(&**log, &head).await?, None),
        Some(head) => search(&**log, &head, operator.query.text("after").parse().unwrap_or(0), &find).await?,
        None => (vec![], None),
    };
    let next = next.map(|after| url(Section::Revocations.path(), &[("find", &find), ("after", &after.to_string())]));
    let own = pages.api.node.sessions.issuer();
    let rows = found.iter().map(|revocation| row(revocation, own, page.messages().console.for_ever)).collect();
    let trusted = pages.api.settings.trusted_issuer.iter().map(|trusted| trusted.name.as_str());
    let issuers: Vec<_> = [own.as_str()].into_iter().chain(trusted).map(str::to_owned).collect();
    let issuer = if issuers.contains(&issuer) { issuer } else { own.to_string() };
    let claims = pages.api.settings.revocable_claims(&issuer);
    let claims = claims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let kind = kind.unwrap_or(RevocationKind::User);
    Ok(RevocationsPage { page, frame, confirm: None, kind, value, issuers, issuer, claims, find, rows, next })
}

/// Returns the last revocations of the log that are in force, newest first.
///
/// Entries have no position of their own here, and those that have lapsed are missing: reads from ever further back until there are enough.
async fn newest(log: &dyn RevocationLog, head: &Cursor) -> Result<Vec<Revocation>, adieu::Error> {
    let mut back = u64::try_from(PAGE).unwrap_or(u64::MAX);
    loop {
        let start = head.position.get().saturating_sub(back);
        let (mut last, mut cursor) = (VecDeque::new(), at(head, start));
        loop {
            let page = log.read(Some(&cursor), Duration::ZERO).await?;
            last.extend(page.entries);
            last.drain(..last.len().saturating_sub(PAGE));
            if page.complete {
                break;
            }
            cursor = page.cursor;
        }
        if last.len() >= PAGE || start == 0 {
            return Ok(last.into_iter().rev().collect());
        }
        back = back.saturating_mul(32);
    }
}

/// Returns revocations after a position with this part of an id, oldest first, and where to go on.
async fn search(
    log: &dyn RevocationLog,
    head: &Cursor,
    after: u64,
    find: &str,
) -> Result<(Vec<Revocation>, Option<u64>), adieu::Error> {
    let (mut found, mut cursor, mut read) = (Vec::new(), at(head, after), 0);
    loop {
        let page = log.read(Some(&cursor), Duration::ZERO).await?;
        read += page.entries.len();
        found.extend(page.entries.into_iter().filter(|revocation| id(revocation).contains(find)));
        cursor = page.cursor;
        if page.complete {
            return Ok((found, None));
        }
        if found.len() >= PAGE || read >= SEARCHED {
            return Ok((found, Some(cursor.position.get())));
        }
    }
}

fn at(head: &Cursor, position: u64) -> Cursor {
    Cursor { log: head.log.clone(), position: Position::new(position) }
}

/// Returns what is revoked, as people write it.
fn id(revocation: &Revocation) -> String {
    match &revocation.target {
        Target::Claim { claim, .. } => format!("{}={}", claim.name(), claim.value()),
        target => target.parts().id.to_owned(),
    }
}

fn row(revocation: &Revocation, own: &Issuer, for_ever: &str) -> RevocationRow {
    let parts = revocation.target.parts();
    RevocationRow {
        kind: RevocationKind::Of(parts.kind),
        id: id(revocation),
        issuer: Some(&revocation.issuer).filter(|issuer| *issuer != own).map(ToString::to_string),
        // The time of a token is its expiry.
        issued_until: match parts.kind {
            TargetKind::Token => String::new(),
            _ => parts.time.map(calendar::written).unwrap_or_default(),
        },
        kept_until: match revocation.lapses_at {
            Timestamp::MAX => for_ever.to_owned(),
            time => calendar::written(time),
        },
    }
}

/// `POST /console/revocations`, with `kind`, `value` and `issuer`; `password` and `typed` for what needs them.
pub(super) async fn revoke(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    time: MoreTime,
    input::Form(form): input::Form,
) -> Response {
    let mut form = Fields(form);
    let (mut kind, mut value, mut issuer) = (None, String::new(), String::new());
    let revoked = async {
        kind = RevocationKind::with_value(&form.text("kind")?);
        form.text("value")?.trim().clone_into(&mut value);
        issuer = form.text("issuer")?;
        let chosen = Chosen::read(&pages, kind.ok_or(ApiError::NotFound)?, &value, &issuer).await?;
        let confirm = chosen.confirm(&pages, &operator).await?;
        if let Some(word) = confirm.typed
            && form.text("typed")?.trim() != word
        {
            let error = ApiError::BadRequest("`typed` must be: everything.".into());
            return Err(Refusal::known(error, |t| t.console.wrong_confirmation));
        }
        if confirm.needs_password {
            operator.confirm(&pages, &mut form, &client).await?;
        }
        let by = audit::Entry::default().by(operator.subject());
        let mut item = chosen.item(&pages)?;
        if let (RevocationTarget::Session(id), None) = (&chosen.target, &chosen.issuer) {
            let session = pages.api.node.sessions.store().session(id).await?;
            item = item.of_user(session.map(|session| session.subject));
        }
        let (sessions, lead) = pages.api.revoke(vec![item], by, &client).await?;
        if let Some(lead) = lead {
            Wait::new(Some(()), time.clone()).grant_cut_off(lead);
            for_the_response(pages.api.node.sessions.wait_past_cut_off(lead)).await;
        }
        done_everywhere(&pages, time, &mut form, sessions, Section::Revocations.path()).await
    };
    let revoked = revoked.await;
    let page = async {
        let confirm =
            async { Chosen::read(&pages, kind?, &value, &issuer).await.ok()?.confirm(&pages, &operator).await.ok() };
        let confirm = confirm.await;
        Ok(RevocationsPage { confirm, ..page(&pages, &operator, kind, value.clone(), issuer.clone()).await? })
    };
    conclude(&operator.visit, revoked, page).await
}
