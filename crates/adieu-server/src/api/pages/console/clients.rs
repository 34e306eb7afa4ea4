//! Clients and their followers.

use std::collections::HashMap;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};

use super::{
    Answer, Client, Fields, Operator, Pages, Query, Refusal, answer, conclude, done, input, notice, quoted, render,
};
use crate::{
    client_changes::{self, ClientChangeError},
    clients::{self, BackchannelLogout, Capability, ClientName, Limits, parse_horizon},
    config::written_duration,
    deliveries::check_backchannel_logout,
    error::ApiError,
    pages::{
        ClientForm, ClientRow, ClientSecret, ClientsPage, Confirm, ConsoleMessages, FollowerRow, Health, Section, short,
    },
};

/// How many followers are shown.
const FOLLOWERS: usize = 100;

/// What can be done with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Change,
    RotateSecret,
    Remove,
}

impl Action {
    fn named(name: &str) -> Option<Self> {
        [Self::Add, Self::Change, Self::RotateSecret, Self::Remove].into_iter().find(|action| action.name() == name)
    }

    /// Returns its name in URLs and on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
            Self::RotateSecret => "rotate-secret",
            Self::Remove => "remove",
        }
    }

    const fn label(self, c: &ConsoleMessages) -> &'static str {
        match self {
            Self::Add => c.add_client,
            Self::Change => c.change_client,
            Self::RotateSecret => c.rotate_secret,
            Self::Remove => c.remove_client,
        }
    }

    /// Whether it says what the client may do.
    const fn has_form(self) -> bool {
        matches!(self, Self::Add | Self::Change)
    }
}

/// What a form says about a client.
#[derive(Debug, Default)]
struct Given {
    name: String,
    /// The names of capabilities.
    can: Vec<String>,
    quota: String,
    horizon: String,
    logout_uri: String,
}

impl Given {
    fn of_query(query: &Query) -> Self {
        let [name, quota, horizon, logout_uri] =
            ["name", "quota", "horizon", "logout_uri"].map(|name| query.text(name));
        let can = query.all("can").iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
        Self { name, can, quota, horizon, logout_uri }
    }

    fn of_form(form: &mut Fields) -> Result<Self, ApiError> {
        let can = form.text("can")?.split(',').map(str::to_owned).collect();
        let (name, quota) = (form.text("name")?, form.text("quota")?);
        Ok(Self { name, can, quota, horizon: form.text("horizon")?, logout_uri: form.text("logout_uri")? })
    }

    fn of_client(client: &clients::Client) -> Self {
        let Limits { quota, horizon } = client.limits;
        Self {
            name: client.name.to_string(),
            can: client.can.iter().map(ToString::to_string).collect(),
            quota: quota.map(|quota| quota.to_string()).unwrap_or_default(),
            horizon: horizon.map(written_duration).unwrap_or_default(),
            logout_uri: String::new(),
        }
    }

    fn name(&self) -> Result<ClientName, Refusal> {
        ClientName::new(&self.name).map_err(|_| refused("Not a name.", |t| t.console.not_a_client_name))
    }

    fn can(&self) -> Result<Vec<Capability>, Refusal> {
        let names = self.can.iter().filter(|name| !name.is_empty());
        let can: Result<Vec<_>, _> = names.map(|name| name.parse()).collect();
        can.map(|can| Capability::ordered(&can)).map_err(|_| refused("No capability.", |t| t.console.no_capability))
    }

    fn limits(&self) -> Result<Limits, Refusal> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let quota = given(&self.quota).map(|text| text.parse()).transpose();
        let horizon = given(&self.horizon).map(|text| parse_horizon(&text)).transpose();
        match (quota, horizon) {
            (Ok(quota), Ok(horizon)) => Ok(Limits { quota, horizon }),
            _ => Err(refused("Not a limit.", |t| t.console.not_a_limit)),
        }
    }

    fn backchannel_logout(&self) -> Result<Option<BackchannelLogout>, Refusal> {
        let to = Some(&self.logout_uri).filter(|uri| !uri.is_empty());
        let to = to.map(|uri| BackchannelLogout { uri: uri.clone(), allow_private: false });
        match to.as_ref().map(check_backchannel_logout).transpose() {
            Ok(_) => Ok(to),
            Err(_) => Err(refused("Not a URL for logout tokens.", |t| t.console.not_a_logout_url)),
        }
    }

    /// Checks what can be said without the store.
    fn check(&self, action: Action) -> Result<(), Refusal> {
        self.name()?;
        if action.has_form() {
            let (can, limits, to) = (self.can()?, self.limits()?, self.backchannel_logout()?);
            if action == Action::Add && can.is_empty() && to.is_none() {
                return Err(ClientChangeError::NoCapability.into());
            }
            if limits != Limits::default() && !can.contains(&Capability::Revoke) {
                return Err(ClientChangeError::LimitsWithoutRevoke.into());
            }
        }
        Ok(())
    }

    fn form(&self, action: Action, pages: &Pages, c: &ConsoleMessages) -> ClientForm {
        let is_new = action == Action::Add;
        let capabilities = Capability::ALL.map(|capability| {
            (capability.as_str(), meaning(capability, c), self.can.iter().any(|name| name == capability.as_str()))
        });
        let (quota, horizon) = Limits::default().or_else(&pages.api.settings);
        ClientForm {
            is_new,
            title: if is_new { c.add_client.to_owned() } else { format!("{}: {}", c.change_client, self.name) },
            action: action.name(),
            name: self.name.clone(),
            capabilities: capabilities.into(),
            quota: self.quota.clone(),
            horizon: self.horizon.clone(),
            logout_uri: self.logout_uri.clone(),
            default_quota: quota.to_string(),
            default_horizon: written_duration(horizon),
        }
    }

    /// Describes an action that was chosen. `followers` is how many followers of this server the client has.
    fn confirm(&self, action: Action, followers: usize, c: &ConsoleMessages) -> Confirm {
        let can: Vec<_> =
            Capability::ALL.into_iter().filter(|known| self.can.iter().any(|name| name == known.as_str())).collect();
        let names = can.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(",");
        let mut effects = Vec::new();
        let mut command = format!("adieu client {} {}", action.name(), quoted(&self.name));
        if action.has_form() {
            for capability in &can {
                effects.push(format!("{}: {}.", capability.as_str(), meaning(*capability, c)));
            }
            if !names.is_empty() {
                command.push_str(&format!(" --capabilities {names}"));
            }
            if can.contains(&Capability::Revoke) {
                for (option, value) in [("quota", &self.quota), ("horizon", &self.horizon)] {
                    match value.as_str() {
                        "" if action == Action::Add => {}
                        "" => command.push_str(&format!(" --revocation-{option} default")),
                        value => command.push_str(&format!(" --revocation-{option} {}", quoted(value))),
                    }
                }
            }
            if names.is_empty() && action == Action::Change {
                // The command line cannot take the last one away.
                command.clear();
            }
            if !self.logout_uri.is_empty() {
                effects.push(format!("{} {}", c.effect_logout_tokens, self.logout_uri));
                command.push_str(&format!(" --backchannel-logout-uri {}", quoted(&self.logout_uri)));
            }
        }
        effects.push(
            match action {
                Action::Add => c.effect_client_add,
                Action::Change => c.effect_client_change,
                Action::RotateSecret => c.effect_rotate_secret,
                Action::Remove => c.effect_client_remove,
            }
            .to_owned(),
        );
        let stops_following = match action {
            Action::Add => false,
            Action::Change => !can.contains(&Capability::Follow),
            Action::RotateSecret | Action::Remove => true,
        };
        if stops_following && followers > 0 {
            effects.push((c.followers_cut_off)(followers));
        }
        let mut fields = vec![("name", self.name.clone())];
        if action.has_form() {
            let more = [("can", names), ("quota", self.quota.clone()), ("horizon", self.horizon.clone())];
            fields.extend(more);
            fields.push(("logout_uri", self.logout_uri.clone()));
        }
        Confirm {
            title: format!("{}: {}", action.label(c), self.name),
            effects,
            command,
            action: format!("/console/clients/{}", action.name()),
            fields,
            needs_password: true,
            is_dangerous: action != Action::Add,
            back: Section::Clients.path().to_owned(),
            ..Confirm::default()
        }
    }
}

const fn meaning(capability: Capability, c: &ConsoleMessages) -> &'static str {
    match capability {
        Capability::Follow => c.can_follow,
        Capability::Revoke => c.can_revoke,
        Capability::Introspect => c.can_introspect,
        Capability::IntrospectAccess => c.can_introspect_access,
        Capability::ResetPassword => c.can_reset_password,
    }
}

fn refused(what: &'static str, text: fn(&'static crate::pages::Messages) -> &'static str) -> Refusal {
    Refusal::known(ApiError::BadRequest(what.into()), text)
}

impl From<ClientChangeError> for Refusal {
    fn from(error: ClientChangeError) -> Self {
        match error {
            ClientChangeError::NameTaken(_) => {
                Self::known(ApiError::Conflict("This name is taken.".into()), |t| t.console.client_exists)
            }
            ClientChangeError::Unknown(_) => Self::known(ApiError::NotFound, |t| t.console.no_such_client),
            ClientChangeError::LimitsWithoutRevoke => {
                refused("Limits without revoke.", |t| t.console.limits_without_revoke)
            }
            ClientChangeError::NoCapability => refused("No capability.", |t| t.console.no_capability),
            ClientChangeError::Failed(error) => error.into(),
        }
    }
}

/// `GET /console/clients`, with `do` and the fields of a client for an action to fill in or, with `go`, to confirm.
pub(super) async fn list(State(pages): State<Pages>, operator: Operator) -> Response {
    let query = &operator.query;
    let Some(action) = query.get("do").and_then(|name| Action::named(&name)) else {
        return answer(&operator.visit, page(&pages, &operator).await);
    };
    let given = Given::of_query(query);
    let is_filled_in = !action.has_form() || query.get("go").is_some();
    if is_filled_in && let Err(refusal) = given.check(action) {
        return conclude(&operator.visit, Err(refusal), with_form(&pages, &operator, action, given)).await;
    }
    match is_filled_in {
        true => answer(&operator.visit, with_confirm(&pages, &operator, action, &given).await),
        false => answer(&operator.visit, with_form(&pages, &operator, action, given).await),
    }
}

async fn with_form(pages: &Pages, operator: &Operator, action: Action, given: Given) -> Answer<ClientsPage> {
    let mut page = page(pages, operator).await?;
    if !action.has_form() {
        return Ok(page);
    }
    let is_filled_in = operator.query.get("go").is_some();
    let given = match action {
        Action::Change if !is_filled_in => {
            let clients = pages.api.node.clients.store().clients().await?;
            let Some(client) = clients.iter().find(|client| client.name.as_str() == given.name) else {
                return Ok(without_client(page));
            };
            Given::of_client(client)
        }
        _ => given,
    };
    page.form = Some(given.form(action, pages, page.page.messages().console));
    Ok(page)
}

async fn with_confirm(pages: &Pages, operator: &Operator, action: Action, given: &Given) -> Answer<ClientsPage> {
    let mut page = page(pages, operator).await?;
    if action != Action::Add && !page.clients.iter().any(|client| client.name == given.name) {
        return Ok(without_client(page));
    }
    let own = pages.api.node.core.applied().borrow().clone();
    let following = pages.api.node.feed.followers(own.as_ref());
    let followers = following.iter().find(|(client, _)| *client == given.name);
    let followers = followers.map_or(0, |(_, group)| usize::try_from(group.followers).unwrap_or(usize::MAX));
    page.confirm = Some(given.confirm(action, followers, page.page.messages().console));
    Ok(page)
}

fn without_client(mut page: ClientsPage) -> ClientsPage {
    page.frame.problem = Some(page.page.messages().console.no_such_client.to_owned());
    page
}

/// `POST /console/clients/{action}`, with the fields of a client and `password`.
pub(super) async fn act(
    State(pages): State<Pages>,
    operator: Operator,
    segments: Result<Path<String>, PathRejection>,
    client: Client,
    input::Form(form): input::Form,
) -> Response {
    let action = segments.ok().and_then(|Path(name)| Action::named(&name));
    let Some(action) = action else { return notice(&operator.visit, ApiError::NotFound) };
    let mut form = Fields(form);
    let mut given = Given::default();
    let acted = async {
        given = Given::of_form(&mut form)?;
        given.check(action)?;
        operator.confirm(&pages, &mut form, &client).await?;
        let (stores, name, by) = (pages.api.node.stores(), given.name()?, operator.by(&client));
        let secret = match action {
            Action::Add => {
                let (mut new, secret) = clients::Client::new(name.clone(), &given.can()?, operator.now(&pages))?;
                new.limits = given.limits()?;
                new.backchannel_logout = given.backchannel_logout()?;
                client_changes::add(stores, &new, by).await?;
                secret
            }
            Action::RotateSecret => client_changes::rotate_secret(stores, &name, by).await?,
            Action::Change => {
                let (can, limits) = (given.can()?, given.limits()?);
                let edit = |client: &mut clients::Client| (client.can, client.limits) = (can, limits);
                client_changes::change(stores, &name, edit, by).await?;
                return Ok(done(Section::Clients.path()));
            }
            Action::Remove => {
                client_changes::remove(stores, &name, by).await?;
                return Ok(done(Section::Clients.path()));
            }
        };
        let mut page = page(&pages, &operator).await?;
        page.secret = Some(ClientSecret { client: name.to_string(), secret: secret.expose().to_owned() });
        Ok(render(().into_response(), &page))
    };
    let acted = acted.await;
    let again = async {
        match given.check(action) {
            Ok(()) => with_confirm(&pages, &operator, action, &given).await,
            Err(_) => page(&pages, &operator).await,
        }
    };
    conclude(&operator.visit, acted, again).await
}

async fn page(pages: &Pages, operator: &Operator) -> Answer<ClientsPage> {
    let (page, frame) = operator.frame(pages, Section::Clients).await?;
    let node = &pages.api.node;
    let own = node.core.applied().borrow().clone();
    let position = own.as_ref().map_or(0, |own| own.position.get());
    let following: HashMap<_, _> = node.feed.followers(own.as_ref()).into_iter().collect();
    let (bound, now) = (node.feed.leases.bound(), operator.now(pages));
    let c = page.messages().console;
    let row = |client: &clients::Client| {
        let group = following.get(client.name.as_str());
        let (quota, horizon) = client.limits.or_else(&pages.api.settings);
        let logout = client.backchannel_logout.as_ref().map(|_| c.gets_logout_tokens);
        let may = client.can.iter().map(|capability| capability.as_str()).chain(logout);
        ClientRow {
            name: client.name.to_string(),
            may: may.collect::<Vec<_>>().join(", "),
            followers: group.map(|group| group.followers.to_string()).unwrap_or_default(),
            health: match group {
                Some(group) => Some(Health::of(Some(group.silence), bound)),
                None => client.can(Capability::Follow).then_some(Health::Absent),
            },
            silence: group.map(|group| short(group.silence)).unwrap_or_default(),
            behind: group.map(|group| position.saturating_sub(group.applied.get()).to_string()).unwrap_or_default(),
            quota: match client.can(Capability::Revoke) {
                true => format!("{}/{}, ≤ {}", quota.burst, written_duration(quota.per), written_duration(horizon)),
                false => String::new(),
            },
            created: page.ago(client.created_at, now),
        }
    };
    let clients = node.clients.store().clients().await?.iter().map(row).collect();
    let (followers, has_more) = node.feed.most_silent(own.as_ref(), FOLLOWERS);
    let followers = followers.into_iter().map(|follower| FollowerRow {
        client: follower.client,
        agent: follower.agent,
        health: Health::of(Some(follower.silence), bound),
        silence: short(follower.silence),
        behind: position.saturating_sub(follower.applied.get()).to_string(),
    });
    let followers = followers.collect();
    Ok(ClientsPage { page, frame, form: None, confirm: None, secret: None, clients, followers, has_more })
}
