//! Aliases of the users of trusted issuers. They are personal data: no URL has one, only the bodies of forms.

use adieu::{Issuer, Subject, time::Timestamp};
use adieu_events::{Alias, AliasKind};
use axum::{extract::State, response::Response};
use serde_json::json;

use super::{
    super::super::{alias::AliasCursor, view::Part},
    Answer, Client, Fields, Operator, Pages, Refusal, answer, conclude, done, input, quoted,
};
use crate::{
    aliases::{AliasFilter, KnownAlias, Named, Removal},
    audit,
    error::ApiError,
    pages::{AliasRow, AliasesPage, Confirm, ConsoleMessages, Page, Section},
};

/// Aliases on one page.
const PAGE: usize = 100;

/// What a form says.
#[derive(Default)]
struct Given {
    issuer: String,
    subject: String,
    format: String,
    value: String,
    after: String,
}

impl Given {
    fn read(form: &mut Fields) -> Result<Self, ApiError> {
        let mut text = |name| form.text(name).map(|text| text.to_owned());
        let (issuer, subject) = (text("issuer")?, text("subject")?);
        Ok(Self { issuer, subject, format: text("format")?, value: text("value")?, after: text("after")? })
    }

    fn of(Named { issuer, alias, subject }: Named) -> Self {
        let (format, value) = (alias.kind().to_string(), alias.value().to_owned());
        Self { issuer: issuer.to_string(), subject: subject.to_string(), format, value, after: String::new() }
    }

    /// Removes the spaces around what a person has typed.
    fn trimmed(self) -> Self {
        let [issuer, subject, format, value] =
            [self.issuer, self.subject, self.format, self.value].map(|text| text.trim().to_owned());
        Self { issuer, subject, format, value, after: self.after }
    }

    /// Returns the aliases to list: those that meet every condition that is given.
    fn filter(&self) -> Result<AliasFilter, Refusal> {
        let alias = if self.value.is_empty() { None } else { Some(self.alias()?) };
        let issuer = (!self.issuer.is_empty()).then(|| self.issuer()).transpose()?;
        let subject = (!self.subject.is_empty()).then(|| self.subject()).transpose()?;
        Ok(AliasFilter { issuer, alias, subject })
    }

    fn named(&self) -> Result<Named, Refusal> {
        Ok(Named { issuer: self.issuer()?, alias: self.alias()?, subject: self.subject()? })
    }

    fn alias(&self) -> Result<Alias, Refusal> {
        let kind: AliasKind = self.format.parse().map_err(|_| not_an_alias())?;
        Alias::new(kind, &self.value).map_err(|_| not_an_alias())
    }

    fn issuer(&self) -> Result<Issuer, Refusal> {
        Issuer::new(&*self.issuer).map_err(|_| not_trusted())
    }

    fn subject(&self) -> Result<Subject, Refusal> {
        Subject::new(&*self.subject)
            .map_err(|_| Refusal::known(ApiError::BadRequest("Not a subject.".into()), |t| t.console.not_a_subject))
    }
}

fn no_such_alias() -> Refusal {
    Refusal::known(ApiError::NotFound, |t| t.console.no_such_alias)
}

fn not_trusted() -> Refusal {
    Refusal::known(ApiError::BadRequest("Not a trusted issuer.".into()), |t| t.console.not_trusted)
}

fn not_an_alias() -> Refusal {
    Refusal::known(ApiError::BadRequest("Not an alias.".into()), |t| t.console.not_an_alias)
}

/// What can be done with an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
}

impl Action {
    fn named(name: &str) -> Option<Self> {
        [Self::Add, Self::Remove].into_iter().find(|action| action.name() == name)
    }

    /// Reads what a person has typed, or `which` row was chosen: a browser would change the line breaks of a subject.
    fn given(self, form: &mut Fields) -> Result<Given, Refusal> {
        if self == Self::Add {
            return Ok(Given::read(form)?.trimmed());
        }
        let which = AliasCursor::try_from(form.text("which")?).map_err(|_| no_such_alias())?;
        Ok(Given::of(which.0))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    fn confirm(self, pages: &Pages, given: &Given, c: &ConsoleMessages) -> Result<Confirm, Refusal> {
        let named = given.named()?;
        let which = AliasCursor(named.clone()).to_string();
        let Named { issuer, alias, subject } = named;
        let (title, effect, path) = match self {
            Self::Add => {
                pages.api.require_trusted(&issuer).map_err(|_| not_trusted())?;
                (c.add_alias, c.effect_alias_add, "/aliases")
            }
            Self::Remove => (c.remove_alias, c.effect_alias_remove, "/aliases/remove"),
        };
        let (format, value) = (alias.kind().as_str(), alias.value());
        let [issuer, subject] = [issuer.as_str(), subject.as_str()];
        let body = json!({"issuer": issuer, "subject": subject, "format": format, "value": value});
        Ok(Confirm {
            title: format!("{title}: {value}"),
            effects: vec![effect.to_owned(), format!("{}: {subject}, {}: {issuer}", c.subject, c.issuer)],
            command: format!(
                "adieu alias {} --issuer {} --subject {} -- {format} {}",
                self.name(),
                quoted(issuer),
                quoted(subject),
                quoted(value)
            ),
            call: format!("POST {path}\n{body}"),
            action: format!("/console/aliases/{}", self.name()),
            fields: match self {
                Self::Add => vec![
                    ("issuer", issuer.to_owned()),
                    ("subject", subject.to_owned()),
                    ("format", format.to_owned()),
                    ("value", value.to_owned()),
                ],
                Self::Remove => vec![("which", which)],
            },
            needs_password: true,
            is_dangerous: self == Self::Remove,
            back: Section::Aliases.path().to_owned(),
            ..Confirm::default()
        })
    }

    /// Does it, if the form has the password.
    async fn act(self, pages: Pages, operator: Operator, client: Client, form: input::FormFields) -> Response {
        let mut form = Fields(form);
        let mut given = Given::default();
        let acted = async {
            given = self.given(&mut form)?;
            let named = given.named()?;
            operator.confirm(&pages, &mut form, &client).await?;
            let by = audit::Entry::default().by(operator.subject());
            match self {
                Self::Add => {
                    pages.api.require_trusted(&named.issuer).map_err(|_| not_trusted())?;
                    pages.api.add_alias(named, by, &client).await?;
                }
                Self::Remove => {
                    let which = Removal::Alias(named.alias, Some(named.subject));
                    if pages.api.remove_aliases(named.issuer, &which, by, &client).await? == 0 {
                        return Err(no_such_alias());
                    }
                }
            }
            Ok(done(Section::Aliases.path()))
        };
        let acted = acted.await;
        let confirm = self.confirm(&pages, &given, operator.visit.language.messages().console).ok();
        conclude(&operator.visit, acted, page(&pages, &operator, Given::default(), confirm)).await
    }
}

/// `GET /console/aliases`
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    answer(&operator.visit, page(&pages, &operator, Given::default(), None).await)
}

/// `POST /console/aliases`, with `issuer`, `subject`, `format`, `value` and `after` to search; with `do` also an action to confirm, to
/// remove with `which` alias of the list.
pub(super) async fn search(State(pages): State<Pages>, operator: Operator, input::Form(form): input::Form) -> Response {
    let mut form = Fields(form);
    let c = operator.visit.language.messages().console;
    let mut asked = || -> Result<(Given, Option<Confirm>), Refusal> {
        let Some(action) = Action::named(&form.text("do")?) else {
            return Ok((Given::read(&mut form)?.trimmed(), None));
        };
        let given = action.given(&mut form)?;
        let confirm = action.confirm(&pages, &given, c)?;
        Ok((Given::default(), Some(confirm)))
    };
    match asked() {
        Ok((given, confirm)) => answer(&operator.visit, page(&pages, &operator, given, confirm).await),
        Err(refusal) => conclude(&operator.visit, Err(refusal), page(&pages, &operator, Given::default(), None)).await,
    }
}

/// `POST /console/aliases/add`, with `issuer`, `subject`, `format`, `value` and `password`.
pub(super) async fn add(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    Action::Add.act(pages, operator, client, form).await
}

/// `POST /console/aliases/remove`, with `which` and `password`.
pub(super) async fn remove(
    State(pages): State<Pages>,
    operator: Operator,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    Action::Remove.act(pages, operator, client, form).await
}

async fn page(pages: &Pages, operator: &Operator, given: Given, confirm: Option<Confirm>) -> Answer<AliasesPage> {
    let (page, mut frame) = operator.frame(pages, Section::Aliases).await?;
    let part = Part { after: AliasCursor::try_from(given.after.clone()).ok(), limit: PAGE };
    let mut known = match given.filter() {
        Ok(filter) => {
            let after = part.after.as_ref().map(|AliasCursor(named)| named);
            pages.api.node.aliases.store().aliases(&filter, after, part.fetch()).await?
        }
        Err(refusal) => {
            frame.problem = Some(refusal.told(page.messages()).1);
            Vec::new()
        }
    };
    let next = part.cut(&mut known, |known| AliasCursor(known.named.clone()).to_string());
    let now = operator.now(pages);
    let rows = known.into_iter().map(|known| row(&page, known, now)).collect();
    let issuers = pages.api.settings.trusted_issuer.iter().map(|issuer| issuer.name.clone()).collect();
    let formats = AliasKind::ALL.map(|kind| (kind.as_str(), kind.as_str() == given.format));
    let Given { issuer, subject, format, value, .. } = given;
    Ok(AliasesPage { page, frame, confirm, issuers, formats, issuer, subject, format, value, rows, next })
}

fn row(page: &Page, KnownAlias { named, seen_at }: KnownAlias, now: Timestamp) -> AliasRow {
    let which = AliasCursor(named.clone()).to_string();
    let Named { issuer, alias, subject } = named;
    AliasRow {
        which,
        issuer: issuer.to_string(),
        format: alias.kind().as_str(),
        value: alias.value().to_owned(),
        subject: subject.to_string(),
        seen: page.ago(seen_at, now),
    }
}
