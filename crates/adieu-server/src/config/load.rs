//! Loads settings from their sources and rejects invalid ones.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use adieu::token::DEFAULT_MAX_TOKEN_BYTES;
use confique::{
    Config as _, Layer as _,
    meta::{Field, FieldKind, LeafKind},
};

use super::{
    AllowedOrigin, Settings,
    address::{has_password, redacted},
    value::written,
};

/// The environment variable that holds the secret with which a relay follows, if no file does.
pub const SECRET_VARIABLE: &str = "ADIEU_FOLLOW_SECRET";

type SettingsLayer = <Settings as confique::Config>::Layer;

/// The environment variable that names the file if no flag does.
pub const CONFIG_VARIABLE: &str = "ADIEU_CONFIG";

/// The maximum of `session_lifetime`, and so of the lifetime of any token.
pub const MAX_SESSION: Duration = Duration::from_secs(3660 * 86_400);

/// The maximum of `max_staleness`.
pub const GREATEST_STALENESS: Duration = Duration::from_secs(86_400);

const PREFIX: &str = "ADIEU_";
const TEST_PREFIX: &str = "ADIEU_TEST_";

/// Settings from the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// The address and port to listen on, or unix:PATH; comma-separated if several [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The folder of the store [default: ./adieu-data]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<String>,
    /// The settings file; `adieu config` prints a sample [env: ADIEU_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node that `adieu relay` names
    #[arg(skip)]
    pub follow: Option<String>,
    /// The client that `adieu relay` names
    #[arg(skip)]
    pub follow_client: Option<String>,
    /// The secret that `adieu relay` names
    #[arg(skip)]
    pub follow_secret_file: Option<String>,
}

/// The reason why the settings are invalid, in one line without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

/// The source of a value.
#[derive(Debug, Clone)]
enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    File(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "from the command line ({flag})"),
            Self::Variable(name) => write!(formatter, "from the environment ({name})"),
            Self::File(name) => write!(formatter, "in {name}"),
            Self::Default => formatter.write_str("by default"),
        }
    }
}

/// The value of a setting as it was written, and its source. Displayed as a line of the file.
#[derive(Debug, Clone)]
pub struct Found {
    key: &'static str,
    value: Option<toml::Value>,
    origin: Origin,
}

impl Found {
    /// Returns whether the value is not the default.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !matches!(self.origin, Origin::Default)
    }

    /// Returns the file from which the value is.
    pub(crate) fn file(&self) -> Option<&Path> {
        if let Origin::File(name) = &self.origin { Some(Path::new(name)) } else { None }
    }

    /// Returns whether the value is an address with a password.
    pub(crate) fn has_password(&self) -> bool {
        self.value.as_ref().and_then(toml::Value::as_str).is_some_and(has_password)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(formatter, "{} = {} # {}", self.key, shown(value), self.origin),
            None => write!(formatter, "# {} is not set", self.key),
        }
    }
}

/// Returns the value without passwords in URLs.
fn shown(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => redacted(text).into(),
        toml::Value::Array(values) => toml::Value::Array(values.iter().map(shown).collect()),
        toml::Value::Table(values) => {
            let member = |(key, value): (&String, &toml::Value)| match (key.as_str(), value) {
                // Of a webhook: for some receivers, the path is the secret.
                ("url", toml::Value::String(url)) => (key.clone(), without_path(url).into()),
                _ => (key.clone(), shown(value)),
            };
            toml::Value::Table(values.iter().map(member).collect())
        }
        value => value.clone(),
    }
}

/// Returns the scheme, the host and the port of a URL.
fn without_path(url: &str) -> String {
    let origin = reqwest::Url::parse(url).map(|url| url.origin().ascii_serialization());
    format!("{}/…", origin.as_deref().unwrap_or_default())
}

impl Settings {
    /// Loads the settings from the flags, the environment (`std::env::vars_os()`), the file that one of these names,
    /// and the defaults. Without a named file, none is read.
    ///
    /// # Errors
    /// At the first setting that is unknown, invalid, or contradicts another; also if the file cannot be read.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, SettingError> {
        Self::load_with_origins(flags, environment).map(|(settings, _)| settings)
    }

    /// Like [`Settings::load`], but also returns where each value came from, in the order of the sample.
    ///
    /// # Errors
    /// See [`Settings::load`].
    pub fn load_with_origins(
        flags: &Flags,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<(Self, Vec<Found>), SettingError> {
        let environment = adieu_variables(environment)?;
        let mut sources = Sources { layer: SettingsLayer::empty(), origins: BTreeMap::new(), values: BTreeMap::new() };

        for (key, flag, value) in [
            ("listen", "--listen", &flags.listen),
            ("data", "--data", &flags.data),
            ("follow", "URL", &flags.follow),
            ("follow_client", "--client", &flags.follow_client),
            ("follow_secret_file", "--secret-file", &flags.follow_secret_file),
        ] {
            if let Some(value) = value {
                sources.offer(key, toml::Value::String(value.clone()), Origin::Flag(flag))?;
            }
        }
        for (field, variable) in fields() {
            if let Some(value) = environment.get(variable) {
                sources.offer(field.name, toml::Value::String(value.clone()), Origin::Variable(variable))?;
            }
        }
        let file = flags.config.clone().or_else(|| environment.get(CONFIG_VARIABLE).map(PathBuf::from));
        if let Some(path) = file {
            for (key, value) in read_file(&path)? {
                let origin = Origin::File(path.display().to_string());
                match fields().find(|(field, _)| field.name == key) {
                    Some((field, _)) => sources.offer(field.name, value, origin)?,
                    None => {
                        return Err(SettingError(format!(
                            "{key} {origin}: no such setting; `adieu config` lists them"
                        )));
                    }
                }
            }
        }

        let Sources { layer, origins, mut values } = sources;
        let settings = Self::from_layer(layer.with_fallback(SettingsLayer::default_values()))
            .map_err(|error| SettingError(format!("{error:#}")))?;
        settings.check(&origins)?;
        let found = |(field, _): (&'static Field, _)| Found {
            key: field.name,
            value: values.remove(field.name).or_else(|| default_of(field)),
            origin: origins.get(field.name).cloned().unwrap_or(Origin::Default),
        };
        Ok((settings, fields().map(found).collect()))
    }

    /// Rejects settings that are invalid, alone or together.
    fn check(&self, origins: &BTreeMap<&'static str, Origin>) -> Result<(), SettingError> {
        let second = Duration::from_secs(1);
        let day = Duration::from_secs(86_400);
        for (key, value, least, most) in [
            ("access_lifetime", self.access_lifetime, second, 30 * day),
            ("refresh_lifetime", self.refresh_lifetime, second, MAX_SESSION),
            ("session_lifetime", self.session_lifetime, second, MAX_SESSION),
            ("leeway", self.leeway, Duration::ZERO, 60 * second),
            ("max_staleness", self.max_staleness, Duration::from_millis(50), GREATEST_STALENESS),
            ("client_revocation_horizon", self.client_horizon(), second, MAX_SESSION),
            ("header_timeout", self.header_timeout, Duration::from_millis(1), day),
            ("keep_alive_timeout", self.keep_alive_timeout, Duration::from_millis(1), day),
            ("request_timeout", self.request_timeout, Duration::from_millis(1), day),
            ("start_timeout", self.start_timeout, Duration::ZERO, day),
            ("shutdown_delay", self.shutdown_delay, Duration::ZERO, day),
            ("drain_timeout", self.drain_timeout, Duration::ZERO, day),
        ] {
            if value < least || value > most {
                let origin = origins.get(key).unwrap_or(&Origin::Default);
                return Err(SettingError(format!(
                    "{key} {origin}: {} is out of range; it must be between {} and {}",
                    written(value),
                    written(least),
                    written(most)
                )));
            }
        }
        let (grace, access) = (self.rotation_grace, self.access_lifetime);
        let (refresh, session) = (self.refresh_lifetime, self.session_lifetime);
        for (is_wrong, key, value, wanted, bound_key, bound) in [
            (grace >= access, "rotation_grace", grace, "must be shorter than", "access_lifetime", access),
            (access > refresh, "access_lifetime", access, "must not be longer than", "refresh_lifetime", refresh),
            (refresh > session, "refresh_lifetime", refresh, "must not be longer than", "session_lifetime", session),
        ] {
            if is_wrong {
                let [origin, bound_origin] = [key, bound_key].map(|key| origins.get(key).unwrap_or(&Origin::Default));
                return Err(SettingError(format!(
                    "{key} {origin}: {} {wanted} {bound_key}, which is {} {bound_origin}",
                    written(value),
                    written(bound)
                )));
            }
        }
        for (key, value, most) in [
            ("min_password_length", self.min_password_length.get(), 128),
            ("hashing_threads", self.hashing_threads.map_or(1, usize::from), 1024),
            ("hashing_queue", self.hashing_queue.get(), 100_000),
            ("max_token_bytes", self.max_token_bytes.get(), 64 * 1024),
            ("max_body_bytes", self.max_body_bytes.get(), 16 * 1024 * 1024),
            ("max_connections", self.max_connections.get(), 1_000_000),
            ("token_cache_entries", self.token_cache_entries.get(), 10_000_000),
        ] {
            if value > most {
                let origin = origins.get(key).unwrap_or(&Origin::Default);
                return Err(SettingError(format!(
                    "{key} {origin}: {value} is out of range; it must be at most {most}"
                )));
            }
        }
        let (tokens, least) = (self.max_token_bytes.get(), DEFAULT_MAX_TOKEN_BYTES);
        if tokens < least {
            let origin = origins.get("max_token_bytes").unwrap_or(&Origin::Default);
            return Err(SettingError(format!(
                "max_token_bytes {origin}: {tokens} is out of range; it must be at least {least}"
            )));
        }
        if self.revocations.is_some() && self.follow.is_some() {
            let origin = origins.get("revocations").unwrap_or(&Origin::Default);
            return Err(SettingError(format!(
                "revocations {origin}: a server that follows another has none of its own"
            )));
        }
        if self.token_cookies.is_some() && self.allowed_origins.contains(&AllowedOrigin::Every) {
            let origin = origins.get("allowed_origins").unwrap_or(&Origin::Default);
            return Err(SettingError(format!(
                "allowed_origins {origin}: with token_cookies, name the origins: \"*\" would let every page use the cookies"
            )));
        }
        if !self.webhook.is_empty() && self.follow.is_some() {
            let origin = origins.get("webhook").unwrap_or(&Origin::Default);
            return Err(SettingError(format!(
                "webhook {origin}: a server that follows another sends no webhooks; its node does"
            )));
        }
        if self.console_listen.is_some() && self.follow.is_some() {
            let origin = origins.get("console_listen").unwrap_or(&Origin::Default);
            return Err(SettingError(format!("console_listen {origin}: a server that follows another has no console")));
        }
        self.check_webhooks(origins)?;
        self.check_issuers(origins)
    }

    fn check_webhooks(&self, origins: &BTreeMap<&'static str, Origin>) -> Result<(), SettingError> {
        for (index, webhook) in self.webhook.iter().enumerate() {
            let twice = self.webhook.iter().take(index).any(|earlier| earlier.name == webhook.name);
            let wrong = if twice { Some("there are two receivers of this name") } else { webhook.contradiction() };
            if let Some(wrong) = wrong {
                let origin = origins.get("webhook").unwrap_or(&Origin::Default);
                return Err(SettingError(format!("webhook {origin}: {:?}: {wrong}", webhook.name)));
            }
        }
        Ok(())
    }

    fn check_issuers(&self, origins: &BTreeMap<&'static str, Origin>) -> Result<(), SettingError> {
        for (index, issuer) in self.trusted_issuer.iter().enumerate() {
            let twice = issuer.name == self.issuer
                || self.trusted_issuer.iter().take(index).any(|earlier| earlier.name == issuer.name);
            let own = issuer.webhook.as_ref();
            let mut earlier = self.trusted_issuer.iter().take(index).filter_map(|earlier| earlier.webhook.as_ref());
            let wrong = match () {
                () if twice => Some("there are two issuers of this name"),
                () if own.is_some_and(|own| earlier.any(|earlier| earlier.name == own.name)) => {
                    Some("another issuer has a webhook of this name")
                }
                () if self.trusted_issuer.iter().take(index).any(|earlier| earlier.has_other_event_keys(issuer)) => {
                    Some("another trusted issuer has events of the same issuer, with keys from another place")
                }
                () => issuer.contradiction(),
            };
            if let Some(wrong) = wrong {
                let origin = origins.get("trusted_issuer").unwrap_or(&Origin::Default);
                return Err(SettingError(format!("trusted_issuer {origin}: {:?}: {wrong}", issuer.name)));
            }
        }
        Ok(())
    }
}

/// The values found so far. The first value of a setting is kept.
struct Sources {
    layer: SettingsLayer,
    origins: BTreeMap<&'static str, Origin>,
    values: BTreeMap<&'static str, toml::Value>,
}

impl Sources {
    fn offer(&mut self, key: &'static str, value: toml::Value, origin: Origin) -> Result<(), SettingError> {
        // One key at a time, so that an error names its key.
        let found: SettingsLayer = toml::Table::from_iter([(key.to_owned(), value.clone())])
            .try_into()
            .map_err(|error: toml::de::Error| SettingError(format!("{key} {origin}: {}", error.message())))?;
        let layer = std::mem::replace(&mut self.layer, SettingsLayer::empty());
        self.layer = layer.with_fallback(found);
        self.origins.entry(key).or_insert(origin);
        self.values.entry(key).or_insert(value);
        Ok(())
    }
}

/// Returns every setting with its environment variable.
fn fields() -> impl Iterator<Item = (&'static Field, &'static str)> {
    Settings::META.fields.iter().filter_map(|field| match field.kind {
        FieldKind::Leaf { env: Some(variable), .. } => Some((field, variable)),
        _ => None,
    })
}

fn default_of(field: &Field) -> Option<toml::Value> {
    match field.kind {
        FieldKind::Leaf { kind: LeafKind::Required { default }, .. } => toml::Value::try_from(default?).ok(),
        _ => None,
    }
}

fn adieu_variables(
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<BTreeMap<String, String>, SettingError> {
    let mut found = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        // Not settings: the first is a secret that must not be printed, the others locate servers for tests.
        if name == SECRET_VARIABLE || name.starts_with(TEST_PREFIX) {
            continue;
        }
        if name != CONFIG_VARIABLE && !fields().any(|(_, variable)| variable == name) {
            if value.to_str().is_some_and(|value| is_of_a_service(name, value)) {
                continue;
            }
            return Err(SettingError(format!("{name} in the environment: no such setting; `adieu config` lists them")));
        }
        let value = value
            .into_string()
            .map_err(|_| SettingError(format!("{name} in the environment: the value is not UTF-8")))?;
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

/// Returns whether Kubernetes sets this variable in each container because the namespace has a Service named `adieu`
/// or `adieu-…`: the host and ports of the Service, in Kubernetes' own form and that of Docker links.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_protocol = |text: &str| ["TCP", "UDP", "SCTP"].contains(&text);
    let is_url = || {
        let parts = value.split_once("://").and_then(|(protocol, address)| Some((protocol, address.rsplit_once(':')?)));
        parts.is_some_and(|(protocol, (host, port))| {
            is_protocol(&protocol.to_ascii_uppercase()) && is_address(host) && is_number(port)
        })
    };
    if name.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    if name.contains("_SERVICE_PORT") {
        return is_number(value);
    }
    if name.ends_with("_PORT") && is_url() {
        return true;
    }
    // `…_PORT_8080_TCP`, and the same with one more word.
    let mut words = name.rsplit('_');
    let mut last = words.next().unwrap_or_default();
    let is_part = match last {
        "PROTO" => is_protocol(&value.to_ascii_uppercase()),
        "PORT" => is_number(value),
        "ADDR" => is_address(value),
        _ => is_url(),
    };
    if ["PROTO", "PORT", "ADDR"].contains(&last) {
        last = words.next().unwrap_or_default();
    }
    is_part && is_protocol(last) && words.next().is_some_and(is_number) && words.next() == Some("PORT")
}

fn is_address(text: &str) -> bool {
    text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok()
}

fn read_file(path: &Path) -> Result<toml::Table, SettingError> {
    let name = path.display();
    let text = crate::files::read_text(path)
        .map_err(|error| SettingError(format!("the settings in {name} can't be read: {error}")))?;
    text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
        SettingError(format!("line {line} of {name} is not TOML: {}", error.message().replace('\n', ", ")))
    })
}
