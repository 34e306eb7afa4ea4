//! Users.

use adieu::{Subject, time::Timestamp};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};

use super::{
    super::super::{admin::AccountChange, view::Part},
    Answer, Client, Fields, MoreTime, Operator, Pages, Query, answer, argument, conclude, done, done_everywhere,
    encoded, input, notice, render, sessions, url,
};
use crate::{
    accounts::{Account, Direction, Filter, Order},
    error::ApiError,
    pages::{Confirm, ConsoleMessages, Page, Section, SortLink, UserFilter, UserPage, UserRow, UserSort, UsersPage},
    text::{NamePart, Username},
};

/// Users on one page.
const PAGE: usize = 50;

/// How the users are sorted, as the query says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sorting(UserSort, Direction);

impl Sorting {
    fn read(query: &Query) -> Self {
        let direction = if query.text("order") == "desc" { Direction::Descending } else { Direction::Ascending };
        Self(UserSort::with_value(&query.text("sort")), direction)
    }

    const fn order(self) -> &'static str {
        match self.1 {
            Direction::Ascending => "asc",
            Direction::Descending => "desc",
        }
    }

    /// Returns the order that starts after a user; `after` is what [`Sorting::after`] has written, or anything else.
    fn starting(self, after: &str) -> Order {
        let Self(sort, direction) = self;
        match sort {
            UserSort::Created => Order::Id(direction, Subject::new(after).ok()),
            UserSort::Name => Order::Name(direction, Username::new(after).ok()),
            UserSort::LastLogin => {
                let after = after.split_once('.').and_then(|(login, id)| {
                    let login = if login.is_empty() { None } else { Some(login.parse().ok()?) };
                    Some((login.map(Timestamp::from_unix), Subject::new(id).ok()?))
                });
                Order::LastLogin(direction, after)
            }
        }
    }

    /// Writes where the list goes on after a user.
    fn after(self, account: &Account) -> String {
        match self.0 {
            UserSort::Created => account.id.to_string(),
            UserSort::Name => account.username.to_string(),
            UserSort::LastLogin => {
                let login = account.last_login_at.map(|login| login.as_unix().to_string());
                format!("{}.{}", login.unwrap_or_default(), account.id)
            }
        }
    }

    /// Returns the link of a column: the other way round if the list is sorted by it.
    fn link(self, column: UserSort, c: &ConsoleMessages, parameters: &[(&str, &str)]) -> SortLink {
        let direction = match self {
            Self(sort, Direction::Ascending) if sort == column => Direction::Descending,
            Self(sort, Direction::Descending) if sort == column => Direction::Ascending,
            // The last ones are of interest.
            _ if column == UserSort::Name => Direction::Ascending,
            _ => Direction::Descending,
        };
        let sorting = [("sort", column.value()), ("order", Self(column, direction).order())];
        let is_ascending = (self.0 == column).then_some(self.1 == Direction::Ascending);
        SortLink {
            name: column.name(c),
            url: url(Section::Users.path(), &[parameters, &sorting].concat()),
            is_ascending,
        }
    }
}

/// `GET /console/users`, with `name`, `which`, `sort`, `order` and `after`.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let found = async {
        let (page, frame) = operator.frame(&pages, Section::Users).await?;
        let query = &operator.query;
        let (name, which) = (query.text("name"), UserFilter::with_value(&query.text("which")));
        let filter = Filter {
            // A text that cannot be part of a name finds no user.
            name: NamePart::new(&name).ok(),
            is_admin: (which == UserFilter::Admins).then_some(true),
            is_disabled: (which == UserFilter::Disabled).then_some(true),
            ..Filter::default()
        };
        let is_possible = name.is_empty() || filter.name.is_some();
        let sorting = Sorting::read(query);
        let (order, part) = (sorting.starting(&query.text("after")), Part { after: None::<Subject>, limit: PAGE });
        let store = pages.api.node.accounts.store();
        let mut accounts = if is_possible { store.list_in(&order, &filter, part.fetch()).await? } else { vec![] };
        let next = part.cut(&mut accounts, |account| sorting.after(account));
        let now = operator.now(&pages);
        let users = accounts.iter().map(|account| row(&page, account, now)).collect();
        let parameters = [("name", name.as_str()), ("which", which.value())];
        let (sort, order) = (sorting.0.value(), sorting.order());
        let next = next.map(|after| {
            let place = [("sort", sort), ("order", order), ("after", &*after)];
            url(Section::Users.path(), &[&parameters[..], &place].concat())
        });
        let columns = UserSort::ALL.map(|column| sorting.link(column, page.messages().console, &parameters));
        Ok(UsersPage { page, frame, name, which, sort, order, columns, users, next })
    };
    answer(&operator.visit, found.await)
}

fn row(page: &Page, account: &Account, now: adieu::time::Timestamp) -> UserRow {
    UserRow {
        id: account.id.to_string(),
        path: encoded(account.id.as_str()),
        name: account.username.to_string(),
        is_admin: account.is_admin,
        is_disabled: account.is_disabled,
        must_change: account.must_change_password,
        created: page.ago(account.created_at, now),
        last_login: account.last_login_at.map(|login| page.ago(login, now)),
    }
}

/// What can be done with a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Change(AccountChange),
    ResetToken,
    EndSessions,
}

impl Action {
    const ALL: [Self; 7] = [
        Self::EndSessions,
        Self::ResetToken,
        Self::Change(AccountChange::RequirePasswordChange),
        Self::Change(AccountChange::Promote),
        Self::Change(AccountChange::Demote),
        Self::Change(AccountChange::Disable),
        Self::Change(AccountChange::Enable),
    ];

    /// Returns its name in URLs.
    const fn name(self) -> &'static str {
        match self {
            Self::Change(AccountChange::Disable) => "disable",
            Self::Change(AccountChange::Enable) => "enable",
            Self::Change(AccountChange::Promote) => "promote",
            Self::Change(AccountChange::Demote) => "demote",
            Self::Change(AccountChange::RequirePasswordChange) => "require-password-change",
            Self::ResetToken => "reset-token",
            Self::EndSessions => "end-sessions",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    fn fits(self, account: &Account) -> bool {
        match self {
            Self::Change(AccountChange::Disable) | Self::ResetToken => !account.is_disabled,
            Self::Change(AccountChange::Enable) => account.is_disabled,
            Self::Change(AccountChange::Promote) => !account.is_admin,
            Self::Change(AccountChange::Demote) => account.is_admin,
            Self::Change(AccountChange::RequirePasswordChange) => !account.must_change_password,
            Self::EndSessions => true,
        }
    }

    const fn label(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Change(AccountChange::Disable) => c.do_disable,
            Self::Change(AccountChange::Enable) => c.do_enable,
            Self::Change(AccountChange::Promote) => c.do_promote,
            Self::Change(AccountChange::Demote) => c.do_demote,
            Self::Change(AccountChange::RequirePasswordChange) => c.do_require_password_change,
            Self::ResetToken => c.do_reset_token,
            Self::EndSessions => c.do_end_sessions,
        }
    }

    const fn effect(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Change(AccountChange::Disable) => c.effect_disable,
            Self::Change(AccountChange::Enable) => c.effect_enable,
            Self::Change(AccountChange::Promote) => c.effect_promote,
            Self::Change(AccountChange::Demote) => c.effect_demote,
            Self::Change(AccountChange::RequirePasswordChange) => c.effect_require_password_change,
            Self::ResetToken => c.effect_reset_token,
            Self::EndSessions => c.effect_log_in_again,
        }
    }

    /// Whether it gives power over something.
    const fn needs_password(self) -> bool {
        matches!(self, Self::Change(AccountChange::Promote) | Self::ResetToken)
    }

    const fn ends_sessions(self) -> bool {
        matches!(self, Self::Change(AccountChange::Disable | AccountChange::Demote) | Self::EndSessions)
    }

    fn confirm(self, account: &Account, live_sessions: usize, c: &ConsoleMessages) -> Confirm {
        let mut effects = vec![self.effect(c).to_owned()];
        if self.ends_sessions() {
            effects.insert(0, (c.sessions_end)(live_sessions));
        }
        let (id, name) = (account.id.as_str(), argument(account));
        let (command, call) = match self {
            Self::EndSessions => (
                format!("adieu session end --user {name}"),
                format!("DELETE /users/{}/sessions?wait=everywhere", encoded(id)),
            ),
            Self::ResetToken | Self::Change(_) => {
                let action = self.name();
                (format!("adieu user {action} {name}"), format!("POST /users/{}/{action}", encoded(id)))
            }
        };
        Confirm {
            title: self.label(c).to_owned(),
            effects,
            command,
            call,
            action: format!("/console/users/{}/{}", encoded(id), self.name()),
            needs_password: self.needs_password(),
            is_dangerous: self.needs_password() || self.ends_sessions(),
            back: path(id),
            ..Confirm::default()
        }
    }
}

fn path(id: &str) -> String {
    format!("/console/users/{}", encoded(id))
}

/// `GET /console/users/{id}`, with `do` for an action to confirm.
pub(super) async fn show(
    State(pages): State<Pages>,
    operator: Operator,
    segments: Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(id)) = segments else { return notice(&operator.visit, ApiError::NotFound) };
    let action = operator.query.get("do").and_then(|name| Action::named(&name));
    answer(&operator.visit, user(&pages, &operator, &id, action).await)
}

async fn user(pages: &Pages, operator: &Operator, id: &str, action: Option<Action>) -> Answer<UserPage> {
    let id = Subject::new(id).map_err(|_| ApiError::NotFound)?;
    let account = pages.api.account(&id).await?;
    let (page, mut frame) = operator.frame(pages, Section::Users).await?;
    frame.title = account.username.to_string();
    let c = page.messages().console;
    let listed = pages.api.sessions_of(&id, &Part::longest(), &operator.token).await?.sessions;
    let confirm = action.filter(|action| action.fits(&account)).map(|action| action.confirm(&account, listed.len(), c));
    let actions = Action::ALL.into_iter().filter(|action| action.fits(&account));
    let actions = actions.map(|action| (action.name(), action.label(c))).collect();
    let now = operator.now(pages);
    let sessions = sessions::rows(pages, &page, listed, now).await?;
    let user = row(&page, &account, now);
    let labelled_by = "sessions-title";
    Ok(UserPage { page, frame, user, confirm, reset_token: None, actions, sessions, with_users: false, labelled_by })
}

/// `POST /console/users/{id}/{action}`, with `password` for what needs it.
pub(super) async fn act(
    State(pages): State<Pages>,
    operator: Operator,
    segments: Result<Path<(String, String)>, PathRejection>,
    client: Client,
    time: MoreTime,
    input::Form(form): input::Form,
) -> Response {
    let Ok(Path((id, action))) = segments else { return notice(&operator.visit, ApiError::NotFound) };
    let Some(action) = Action::named(&action) else { return notice(&operator.visit, ApiError::NotFound) };
    let mut form = Fields(form);
    let acted = async {
        let id = Subject::new(&*id).map_err(|_| ApiError::NotFound)?;
        if action.needs_password() {
            operator.confirm(&pages, &mut form, &client).await?;
        }
        let sessions = match action {
            Action::Change(change) => pages.api.change_account(change, &id, &operator.token, &client).await?,
            Action::EndSessions => pages.api.end_sessions_of(&id, &operator.token, &client).await?,
            Action::ResetToken => {
                let reset_token = pages.api.issue_reset(&id, &operator.token, &client).await?;
                let page =
                    UserPage { reset_token: Some(reset_token), ..user(&pages, &operator, id.as_str(), None).await? };
                return Ok(render(().into_response(), &page));
            }
        };
        match action.ends_sessions() {
            true => done_everywhere(&pages, time, &mut form, sessions, &path(id.as_str())).await,
            false => Ok(done(&path(id.as_str()))),
        }
    };
    let acted = acted.await;
    conclude(&operator.visit, acted, user(&pages, &operator, &id, Some(action))).await
}
