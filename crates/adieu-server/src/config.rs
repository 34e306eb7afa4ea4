//! Settings: their defaults and limits, and where each value comes from.
//!
//! 1. A flag wins over the environment (`ADIEU_…`), that over the file (TOML), that over the default.
//! 2. Nothing is guessed: an unknown key in the file, an unknown `ADIEU_…` variable, a value that can't be read and
//!    two settings that contradict each other each stop the start, with one line that names the setting, where it
//!    came from, and what would be right.
//! 3. [`sample`] is made from the comments on [`Settings`], so that it can't say anything else than the code does.

mod address;
mod issuer;
mod load;
mod value;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use adieu::token::{DEFAULT_SKEW, StalePolicy};
use confique::Config;
use ipnet::IpNet;

pub use address::{Address, RedisAddress, StoreAddress, redacted};
pub use issuer::TrustedIssuer;
use issuer::issuers;
pub use load::{CONFIG_VARIABLE, Flags, Found, GREATEST_STALENESS, MAX_SESSION, SettingError};
pub(crate) use value::stale_policy;
pub use value::{LogFormat, Rate, Registration};
use value::{Value as _, text};

/// A duration, as it is written in a setting: "1h30m".
///
/// # Errors
/// What would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::read(text).ok_or_else(|| format!("not {}", Duration::WANTED))
}

/// A duration in the way that it is written in a setting.
#[must_use]
pub fn written_duration(duration: Duration) -> String {
    value::written(duration)
}

/// Settings of the adieu server.
///
/// Every setting is shown with its default. A flag wins over the environment, that over this file, that over the
/// default. Durations are written as "500ms", "15m" or "1h30m" (ms, s, m, h, d, w).
#[derive(Debug, Clone, PartialEq, Config)]
#[config(layer_attr(derive(Debug)))]
pub struct Settings {
    /// The address and port to listen on.
    #[config(env = "ADIEU_LISTEN", default = "127.0.0.1:8080", deserialize_with = text)]
    pub listen: SocketAddr,

    /// The address and port to serve `GET /metrics` on, for Prometheus. Not set: nowhere. The address is separate, because the
    /// metrics are not for clients, and so that they can be read when clients have used up all connections. There is no
    /// authentication: use an address that only the monitoring reaches, such as "127.0.0.1:9464".
    #[config(env = "ADIEU_METRICS_LISTEN", deserialize_with = text)]
    pub metrics_listen: Option<SocketAddr>,

    /// The folder of the store, if the store is a file. It is created if it does not exist.
    #[config(env = "ADIEU_DATA", default = "./adieu-data", deserialize_with = text)]
    pub data: PathBuf,

    /// The file of the high-water mark: it records, outside of the store, the end of the revocation log. A restored backup is
    /// detected by it, and every token from before is rejected. Not set: `adieu-data.high-water` beside the data folder, or
    /// `high-water` in the folder if no file can be beside it. Exclude it from backups of the store: a mark that is restored
    /// together with the store detects nothing. Each of several servers has its own.
    #[config(env = "ADIEU_HIGH_WATER", deserialize_with = text)]
    pub high_water: Option<PathBuf>,

    /// Where everything is kept. Not set: in the file `adieu.sqlite` in the data folder, for one server. With
    /// "postgres://user@host/database" any number of servers share a PostgreSQL database; the password is best left to
    /// PGPASSWORD or ~/.pgpass.
    #[config(env = "ADIEU_STORE", deserialize_with = text)]
    pub store: Option<StoreAddress>,

    /// Where sessions, signing keys and revocations are kept, if not in the store: "redis://host:6379", or "rediss://…", of a
    /// Redis or Valkey that keeps what it has acknowledged (`appendonly yes`, `appendfsync always`).
    #[config(env = "ADIEU_REVOCATIONS", deserialize_with = text)]
    pub revocations: Option<RedisAddress>,

    /// Whether a PostgreSQL or Redis is used that may lose what it has acknowledged. Then so may this server: a logout that
    /// was answered can be forgotten.
    #[config(env = "ADIEU_ALLOW_WEAKER_DURABILITY", default = false, deserialize_with = text)]
    pub allow_weaker_durability: bool,

    /// Who issues the tokens (the claim `iss`). Tokens of another issuer are refused, so changing it ends every
    /// session.
    #[config(env = "ADIEU_ISSUER", default = "adieu", deserialize_with = text)]
    pub issuer: String,

    /// Whom the tokens are for (the claim `aud`). When it is set, tokens without it are refused.
    #[config(env = "ADIEU_AUDIENCE", deserialize_with = text)]
    pub audience: Option<String>,

    /// Other issuers whose tokens `/verify` and `/introspect` accept beside our own, and which can be logged out. Each is
    /// a table, `[[trusted_issuer]]`, or here one in braces; its key comes from `secret_file` (HMAC; as long as its hash),
    /// `pem_file` (a public key) or `jwks_url`. For an application with Flask-JWT-Extended:
    /// `[{ name = "shop", secret_file = "/etc/adieu/shop.secret", accept_generic_type = true, accept_missing_issuer = true }]`.
    /// There are also `algorithm`, `key_id`, `audience`, `longest_lifetime` ("31d"; a token that lives longer is rejected),
    /// `clock_skew` ("3s"; how far its clock may be ahead; a revocation of all tokens of a subject takes that much longer),
    /// `claims` (the claims that are trusted beside those that identify the subject; none by default),
    /// `accept_missing_type`, `accept_missing_token_id` and `accept_integer_subject`.
    #[config(env = "ADIEU_TRUSTED_ISSUER", default = [], deserialize_with = issuers)]
    pub trusted_issuer: Vec<TrustedIssuer>,

    /// The number of access tokens whose verified signature and claims are cached, so that a signature is verified once.
    /// Revocation is checked on every request. The cache takes at most 1 KiB a token on average.
    #[config(env = "ADIEU_TOKEN_CACHE", default = "16384", deserialize_with = text)]
    pub token_cache: NonZeroUsize,

    /// The lifetime of an access token.
    #[config(env = "ADIEU_ACCESS_LIFETIME", default = "15m", deserialize_with = text)]
    pub access_lifetime: Duration,

    /// The lifetime of a refresh token: a session that is not refreshed for this long ends.
    #[config(env = "ADIEU_REFRESH_LIFETIME", default = "30d", deserialize_with = text)]
    pub refresh_lifetime: Duration,

    /// How long a session lives at most, however often it is refreshed.
    #[config(env = "ADIEU_SESSION_LIFETIME", default = "90d", deserialize_with = text)]
    pub session_lifetime: Duration,

    /// For how long after its first use a refresh token still gets the current one when its successor was used too, but not
    /// the one after that: so two tabs do not end each other's session. As long as the successor was not used, it gets the
    /// same one again at any time: the response may have been lost. Any other use of a used token ends the session; with
    /// "0s" every one does.
    #[config(env = "ADIEU_ROTATION_GRACE", default = "10s", deserialize_with = text)]
    pub rotation_grace: Duration,

    /// How many sessions a user may have at once; with one more, the oldest ends.
    #[config(env = "ADIEU_SESSIONS_PER_USER", default = "100", deserialize_with = text)]
    pub sessions_per_user: NonZeroUsize,

    /// By how much the clocks of other machines may be wrong when `exp` and `nbf` are checked; at most "60s".
    #[config(env = "ADIEU_LEEWAY", default = "0s", deserialize_with = text)]
    pub leeway: Duration,

    /// The longest that a logout made elsewhere may go unnoticed here.
    #[config(env = "ADIEU_MAX_STALENESS", default = "2s", deserialize_with = text)]
    pub max_staleness: Duration,

    /// What to do with a token when that can't be promised: "refuse" it (503), or "accept" it.
    #[config(env = "ADIEU_WHEN_STALE", default = "refuse", deserialize_with = text)]
    pub when_stale: StalePolicy,

    /// The URL of a node to follow. Then this server is a relay: it has no accounts of its own, verifies the node's tokens and
    /// serves those who follow it. `issuer` must be the node's, and `max_staleness` not more than the node's.
    #[config(env = "ADIEU_FOLLOW", deserialize_with = text)]
    pub follow: Option<String>,

    /// The name of the client that this server is at the node that it follows.
    #[config(env = "ADIEU_FOLLOW_CLIENT", deserialize_with = text)]
    pub follow_client: Option<String>,

    /// The file with the secret of that client. Not set: the secret is in the environment, as ADIEU_FOLLOW_SECRET.
    #[config(env = "ADIEU_FOLLOW_SECRET_FILE", deserialize_with = text)]
    pub follow_secret_file: Option<PathBuf>,

    /// Whether strangers may register: "open", or "closed" (users are then added with `adieu user add`).
    #[config(env = "ADIEU_REGISTRATION", default = "open", deserialize_with = text)]
    pub registration: Registration,

    /// The fewest characters that a new password may have. The default refuses only the empty one, so that clients
    /// of a small Flask API go on working; NIST SP 800-63B asks for 15, or 8 beside a second factor.
    #[config(env = "ADIEU_PASSWORD_MIN_LENGTH", default = "1", deserialize_with = text)]
    pub password_min_length: NonZeroUsize,

    /// How many passwords are hashed at once, each with 19 MiB of memory. Not set: one fewer than there are cores,
    /// at least one, so that logins can't starve the rest.
    #[config(env = "ADIEU_HASHING_THREADS", deserialize_with = text)]
    pub hashing_threads: Option<NonZeroUsize>,

    /// How many passwords may wait to be hashed; further logins are answered 503 at once. One address (for IPv6: one /64
    /// network) gets a quarter of the places, and is answered 429 beyond that.
    #[config(env = "ADIEU_HASHING_QUEUE", default = "64", deserialize_with = text)]
    pub hashing_queue: NonZeroUsize,

    /// How many failed logins one account may have: so many at once, and again so many spread over the time.
    #[config(env = "ADIEU_LOGIN_ATTEMPTS_PER_ACCOUNT", default = "10 per 5m", deserialize_with = text)]
    pub login_attempts_per_account: Rate,

    /// The same for one address that logins come from (for IPv6: one /64 network).
    #[config(env = "ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS", default = "100 per 5m", deserialize_with = text)]
    pub login_attempts_per_address: Rate,

    /// How many revocations one client may append: so many at once, and again so many spread over the time; more are answered
    /// 429. Each is kept in memory and on disk until the tokens that it is about have expired. `adieu client add` and `change`
    /// give a client a quota of its own. Each node counts what it answers itself, from its start: at n nodes a client may append
    /// n times as many, and a relay appends as the one client that it is at its node.
    #[config(env = "ADIEU_CLIENT_REVOCATION_QUOTA", default = "10000 per 1h", deserialize_with = text)]
    pub client_revocation_quota: Rate,

    /// For how long a revocation of a client may be kept, by its `keep_until` or `expires_at`. Not set: as long as the
    /// longest-lived token that this server issues or accepts. A client can have one of its own. By as much as the clock of a
    /// trusted issuer may be ahead, and by 3 s at least, it may be later: the clock of a client may be ahead as well.
    #[config(env = "ADIEU_CLIENT_REVOCATION_HORIZON", deserialize_with = text)]
    pub client_revocation_horizon: Option<Duration>,

    /// The longest body of a request, in bytes; a longer one is answered 413.
    #[config(env = "ADIEU_MAX_BODY_BYTES", default = "65536", deserialize_with = text)]
    pub max_body_bytes: NonZeroUsize,

    /// How many connections may be open at once. One address (for IPv6: one /64 network) gets a quarter of them, unless it is
    /// a trusted proxy; and a quarter is kept for trusted proxies and this machine. When there are no more, one that is idle
    /// is closed for another.
    #[config(env = "ADIEU_MAX_CONNECTIONS", default = "10000", deserialize_with = text)]
    pub max_connections: NonZeroUsize,

    /// How long a client may take to send the head of a request.
    #[config(env = "ADIEU_HEADER_TIMEOUT", default = "30s", deserialize_with = text)]
    pub header_timeout: Duration,

    /// How long a connection is kept on which no further request comes. Longer than proxies and load balancers keep theirs
    /// (mostly 60 s), or requests are lost that they send while it is being closed.
    #[config(env = "ADIEU_KEEP_ALIVE_TIMEOUT", default = "75s", deserialize_with = text)]
    pub keep_alive_timeout: Duration,

    /// How long a request may take from its head to its answer: then it is answered 408 if its body has not come, and
    /// 503 if the server is slow. As long may a client take nothing of its answer, before it is hung up on.
    #[config(env = "ADIEU_REQUEST_TIMEOUT", default = "30s", deserialize_with = text)]
    pub request_timeout: Duration,

    /// How long to go on trying to reach PostgreSQL or Redis at the start, which may start at the same time.
    #[config(env = "ADIEU_START_TIMEOUT", default = "30s", deserialize_with = text)]
    pub start_timeout: Duration,

    /// How long to go on as before after SIGTERM or Ctrl-C, while `/readyz` answers 503, so that load balancers and the
    /// like stop sending requests here before no more are accepted.
    #[config(env = "ADIEU_SHUTDOWN_DELAY", default = "0s", deserialize_with = text)]
    pub shutdown_delay: Duration,

    /// How long requests that are under way may take to finish when no more are accepted.
    #[config(env = "ADIEU_DRAIN_TIMEOUT", default = "30s", deserialize_with = text)]
    pub drain_timeout: Duration,

    /// The networks of proxies whose `X-Forwarded-For` is believed, such as ["10.0.0.0/8", "::1/128"]; in the
    /// environment with commas between them. From anyone else the header is ignored.
    #[config(env = "ADIEU_TRUSTED_PROXIES", default = [], deserialize_with = text)]
    pub trusted_proxies: Vec<IpNet>,

    /// How the log is written to standard error: "text", or "json" (an object a line).
    #[config(env = "ADIEU_LOG_FORMAT", default = "text", deserialize_with = text)]
    pub log_format: LogFormat,

    /// The minimum level of log messages: "error", "warn", "info", "debug" or "trace".
    #[config(env = "ADIEU_LOG_LEVEL", default = "info", deserialize_with = text)]
    pub log_level: tracing::Level,

    /// The file to append audit events to, one JSON object a line, in addition to the log; also those of the command line,
    /// which are in no log. Not set: none. Servers and commands on one machine may share the file; to rotate it, rename it.
    /// A command that would change something fails if the file cannot be opened; a server logs the error and continues.
    #[config(env = "ADIEU_AUDIT_LOG", deserialize_with = text)]
    pub audit_log: Option<PathBuf>,
}

impl Settings {
    /// How far the clock of a client may be ahead: as far as that of any issuer that is trusted, and a few seconds at least.
    #[must_use]
    pub fn client_skew(&self) -> Duration {
        self.trusted_issuer.iter().map(|issuer| issuer.clock_skew).fold(DEFAULT_SKEW, Duration::max)
    }

    /// For how long a revocation of a client may be kept.
    #[must_use]
    pub fn client_horizon(&self) -> Duration {
        let accepted = self.trusted_issuer.iter().map(|issuer| issuer.longest_lifetime);
        self.client_revocation_horizon.unwrap_or_else(|| accepted.fold(self.session_lifetime, Duration::max))
    }
}

/// The annotated sample file: every setting, commented out, with its default.
#[must_use]
pub fn sample() -> String {
    confique::toml::template::<Settings>(confique::toml::FormatOptions::default())
}
