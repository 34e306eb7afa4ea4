//! Settings: their defaults and limits, and where each value comes from.
//!
//! 1. A flag overrides the environment (`ADIEU_…`), which overrides the file (TOML), which overrides the default.
//! 2. The server does not start with an unknown key in the file, an unknown `ADIEU_…` variable, an invalid value, or two
//!    settings that contradict each other. The error is one line with the setting, its source, and what was expected.
//! 3. [`sample`] is generated from the doc comments of [`Settings`].

mod address;
mod claim_path;
mod issuer;
mod issuer_webhook;
mod listen;
mod load;
mod origin;
mod reload;
mod table;
mod value;
mod webhook;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use adieu::{
    revocation::ClaimName,
    token::{CacheLimits, DEFAULT_SKEW, StalePolicy},
};
use confique::Config;

pub use address::{Address, RedisAddress, StoreAddress, redacted};
pub use claim_path::ClaimPath;
use issuer::issuers;
pub(crate) use issuer::one_or_several;
pub use issuer::{EventIssuer, TrustedIssuer};
pub use issuer_webhook::{IssuerWebhook, WebhookPreset};
pub use listen::{ListenAddress, SocketMode, TrustedProxy};
pub use load::{CONFIG_VARIABLE, Flags, Found, GREATEST_STALENESS, MAX_SESSION, SECRET_VARIABLE, SettingError};
pub use origin::AllowedOrigin;
pub use reload::Reloaded;
use reload::is_reloadable;
use table::tables;
pub(crate) use value::stale_policy;
pub use value::{CollectorUrl, LogFormat, Rate, Ratio, Registration, RevocableClaims, TokenCookies, WebSocketToken};
use value::{Value as _, text};
pub use webhook::Webhook;

/// Parses a duration as in a setting, such as "1h30m".
///
/// # Errors
/// Returns what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::read(text).ok_or_else(|| format!("not {}", Duration::WANTED))
}

/// Formats a duration as in a setting.
#[must_use]
pub fn written_duration(duration: Duration) -> String {
    value::written(duration)
}

/// Settings of the adieu server.
///
/// Every setting is shown with its default. A flag overrides the environment, which overrides this file, which overrides
/// the default. A reload (SIGHUP) reads all of them again. Durations are written as "500ms", "15m" or "1h30m" (ms, s, m, h, d, w).
#[derive(Debug, Clone, PartialEq, Config)]
#[config(layer_attr(derive(Debug)))]
pub struct Settings {
    /// The address and port to listen on, or the path of a Unix socket, such as "unix:/run/adieu/verify.sock", or a list of several;
    /// comma-separated in the environment. All of them serve the same, within the same limits.
    #[config(env = "ADIEU_LISTEN", default = "127.0.0.1:8080", deserialize_with = text)]
    pub listen: Vec<ListenAddress>,

    /// The mode of the Unix sockets: a process needs the permission to write in order to connect.
    #[config(env = "ADIEU_UNIX_SOCKET_MODE", default = "660", deserialize_with = text)]
    pub unix_socket_mode: SocketMode,

    /// The owner of the Unix sockets, by name or number. Not set: the user of the server.
    #[config(env = "ADIEU_UNIX_SOCKET_OWNER", deserialize_with = text)]
    pub unix_socket_owner: Option<String>,

    /// The group of the Unix sockets, by name or number: for example that of the proxy, of which the server's user must be a member.
    /// Not set: the group of the server.
    #[config(env = "ADIEU_UNIX_SOCKET_GROUP", deserialize_with = text)]
    pub unix_socket_group: Option<String>,

    /// The file with the certificate for TLS, and after it those of the authorities up to, but without, the root, in PEM. With it, the
    /// server speaks only TLS at its TCP addresses (1.3 or 1.2), and `tls_key` is needed too. The files are read again every ten seconds, so
    /// that a renewed certificate is used without a restart. Not set: no TLS; put a proxy in front of the server. Turning TLS on or off
    /// needs a restart.
    #[config(env = "ADIEU_TLS_CERTIFICATE", deserialize_with = text)]
    pub tls_certificate: Option<PathBuf>,

    /// The file with the private key of the certificate, in PEM. Only the server may be able to read it.
    #[config(env = "ADIEU_TLS_KEY", deserialize_with = text)]
    pub tls_key: Option<PathBuf>,

    /// The file with the certificates of the authorities that issue certificates to clients, in PEM. With it, the server asks for a
    /// certificate at its TCP addresses and ends the handshake if that is not from these authorities or has expired. A request with the
    /// secret of a client (followers, relays, introspection) is rejected without a certificate: a stolen secret alone is of no use. Browsers
    /// and proxies need none. Not set: no certificates are asked for. Turning this on or off needs a restart.
    #[config(env = "ADIEU_TLS_CLIENT_CA", deserialize_with = text)]
    pub tls_client_ca: Option<PathBuf>,

    /// The address and port to serve `GET /metrics` on, for Prometheus. Not set: metrics are not served. The address is
    /// separate, because the metrics are not for clients, and so that they can be read when clients have used up all
    /// connections. There is no authentication: use an address that only the monitoring reaches, such as "127.0.0.1:9464".
    #[config(env = "ADIEU_METRICS_LISTEN", deserialize_with = text)]
    pub metrics_listen: Option<SocketAddr>,

    /// The folder of the store, if the store is a file. It is created if it does not exist.
    #[config(env = "ADIEU_DATA", default = "./adieu-data", deserialize_with = text)]
    pub data: PathBuf,

    /// The file of the high-water mark: it records, outside of the store, the end of the revocation log. With it, the server
    /// detects a restored backup, and rejects every token from before. Not set: the path of the data folder with `.high-water` appended, or
    /// `high-water` in the folder if no file can be beside it. Exclude it from backups of the store: a mark that is restored
    /// together with the store detects nothing. Each of several servers has its own.
    #[config(env = "ADIEU_HIGH_WATER_FILE", deserialize_with = text)]
    pub high_water_file: Option<PathBuf>,

    /// The store. Not set: the file `adieu.sqlite` in the data folder, for one server. With
    /// "postgres://user@host/database" any number of servers share a PostgreSQL database; the password is best left to
    /// PGPASSWORD or ~/.pgpass.
    #[config(env = "ADIEU_STORE", deserialize_with = text)]
    pub store: Option<StoreAddress>,

    /// The store of sessions, signing keys and revocations, if it is another one: "redis://host:6379", or "rediss://…", of a
    /// durable Redis or Valkey (`appendonly yes`, `appendfsync always`).
    #[config(env = "ADIEU_REVOCATIONS", deserialize_with = text)]
    pub revocations: Option<RedisAddress>,

    /// Accepts a PostgreSQL or Redis that may lose acknowledged writes. This server may then lose a logout that was answered
    /// with success.
    #[config(env = "ADIEU_ALLOW_WEAKER_DURABILITY", default = false, deserialize_with = text)]
    pub allow_weaker_durability: bool,

    /// The issuer of the tokens (the claim `iss`). Tokens of other issuers are rejected, so changing it ends every session.
    #[config(env = "ADIEU_ISSUER", default = "adieu", deserialize_with = text)]
    pub issuer: String,

    /// The audience of the tokens (the claim `aud`). If it is set, tokens without it are rejected.
    #[config(env = "ADIEU_AUDIENCE", deserialize_with = text)]
    pub audience: Option<String>,

    /// Other issuers whose tokens `/verify` and `/introspect` accept beside our own, and which can be logged out. Each is
    /// a table, `[[trusted_issuer]]`, or here one in braces; its key comes from `secret_file` (HMAC; as long as its hash),
    /// `pem_file` (a public key), `jwks_url`, or `discovery` (the URL of an OpenID provider, which is then the `name` too). For an application with Flask-JWT-Extended:
    /// `[{ name = "shop", secret_file = "/etc/adieu/shop.secret", accept_generic_type = true, accept_missing_issuer = true }]`.
    /// There are also `algorithm`, `key_id`, `audience`, `max_lifetime` ("31d"; a token that lives longer is rejected),
    /// `clock_skew` ("3s"; how far its clock may be ahead; a revocation of all tokens of a subject takes that much longer),
    /// `trusted_claims` (those that are trusted besides the claims that identify the subject; none by default),
    /// `revocable_claims` (those by whose values its tokens can be revoked, at most four; none by default),
    /// `subject_claim` (the claim that is the subject of its tokens instead of `sub`, such as "oid" of Entra or "username" of Cognito; `.`
    /// leads into an object, as in `?claim=` of `/verify`),
    /// `accept_missing_type`, `accept_missing_token_id` and `accept_integer_subject`; and for logouts at the issuer that reach this
    /// server (docs/events.md): `events = ["backchannel-logout"]`, `event_audience = ["client-id"]`,
    /// `event_issuer = { discovery = "https://shop.okta.com" }` if another issuer signs them, with `discovery` or `name` and `jwks_url`,
    /// `logout_scope` ("session" or "subject"), `alias_claims` ("email" and "phone_number": those of its tokens from which users are known whom
    /// its events name by them; none by default), and
    /// `webhook = { name = "clerk", preset = "clerk", secret_file = "/etc/adieu/clerk.secret" }`.
    #[config(env = "ADIEU_TRUSTED_ISSUER", default = [], deserialize_with = issuers)]
    pub trusted_issuer: Vec<TrustedIssuer>,

    /// The claims by whose values tokens of this server can be revoked, at most four, such as ["tenant", "device"]; comma-separated in the
    /// environment. For the tokens of another issuer, `revocable_claims` of its table counts. Only the name is checked here: make such
    /// revocations only once every follower knows them (docs/feed.md).
    #[config(env = "ADIEU_REVOCABLE_CLAIMS", default = [], deserialize_with = text)]
    pub revocable_claims: RevocableClaims,

    /// The maximum length of a token of a trusted issuer, in bytes: from 8192 to 65536. The limit on the head of a request follows: 16 KiB,
    /// and twice this. A proxy in front of the server may need a higher limit too (docs/forward-auth.md), and `max_body_bytes` must leave
    /// room for tokens in bodies.
    #[config(env = "ADIEU_MAX_TOKEN_BYTES", default = "8192", deserialize_with = text)]
    pub max_token_bytes: NonZeroUsize,

    /// The cookies with tokens that the API and `/verify` accept besides `Authorization`, and that `POST /login?cookies=true` sets: "adieu"
    /// (`__Host-access_token` and so on, as in adieu-axum) or "flask-jwt-extended" (`access_token_cookie` and so on). A request that may change something must repeat the claim `csrf` of the token in
    /// the header `X-CSRF-TOKEN`; for a trusted issuer that claim must be one of its `trusted_claims`. The proxy must say which method the
    /// request has (docs/forward-auth.md). Not set: cookies are ignored.
    #[config(env = "ADIEU_TOKEN_COOKIES", deserialize_with = text)]
    pub token_cookies: Option<TokenCookies>,

    /// Sets the cookies with `SameSite=None`, which a page of `allowed_origins` on another site needs. It costs a line of defence: browsers
    /// then send the cookies with requests that any site causes, and only the CSRF value tells these from yours. Leave it off for pages of
    /// your own site, such as app.example.com beside login.example.com.
    #[config(env = "ADIEU_SEND_COOKIES_FROM_EVERY_SITE", default = false, deserialize_with = text)]
    pub send_cookies_from_every_site: bool,

    /// Where `/verify` also looks for the access token of a request that opens a WebSocket, to which no page can add a header: "query" (the
    /// parameter `access_token`) and "protocol" (`access_token.` and the token, in `Sec-WebSocket-Protocol`). The proxy must not forward
    /// it, nor write it to its log (docs/forward-auth.md).
    #[config(env = "ADIEU_WEBSOCKET_TOKEN", default = [], deserialize_with = text)]
    pub websocket_token: Vec<WebSocketToken>,

    /// The origins whose pages may use the API in a browser, exactly as a browser writes them:
    /// `["https://app.example", "http://localhost:5173"]`, or `["*"]` for every page; comma-separated in the environment. With
    /// `token_cookies`, these pages may also open WebSockets with the cookies, and "*" is not allowed. The keys, the metadata and the
    /// OpenAPI document are for pages of every origin.
    #[config(env = "ADIEU_ALLOWED_ORIGINS", default = [], deserialize_with = text)]
    pub allowed_origins: Vec<AllowedOrigin>,

    /// The number of access tokens of each issuer whose verified signature and claims are cached, so that a signature is verified once.
    /// Revocation is checked on every request. Each cache takes at most 2 KiB a token on average.
    #[config(env = "ADIEU_TOKEN_CACHE_ENTRIES", default = "16384", deserialize_with = text)]
    pub token_cache_entries: NonZeroUsize,

    /// The lifetime of an access token.
    #[config(env = "ADIEU_ACCESS_LIFETIME", default = "15m", deserialize_with = text)]
    pub access_lifetime: Duration,

    /// The lifetime of a refresh token: a session that is not refreshed for this long ends.
    #[config(env = "ADIEU_REFRESH_LIFETIME", default = "30d", deserialize_with = text)]
    pub refresh_lifetime: Duration,

    /// The maximum lifetime of a session, however often it is refreshed.
    #[config(env = "ADIEU_SESSION_LIFETIME", default = "90d", deserialize_with = text)]
    pub session_lifetime: Duration,

    /// For how long after its first use a refresh token still gets the current one when its successor was used too, but not
    /// the one after that: so two tabs do not end each other's session. As long as the successor was not used, it gets the
    /// same one again at any time: the response may have been lost. Any other use of a used token ends the session; with
    /// "0s" every one does.
    #[config(env = "ADIEU_ROTATION_GRACE", default = "10s", deserialize_with = text)]
    pub rotation_grace: Duration,

    /// The maximum number of sessions of a user; one more ends the oldest.
    #[config(env = "ADIEU_MAX_SESSIONS_PER_USER", default = "100", deserialize_with = text)]
    pub max_sessions_per_user: NonZeroUsize,

    /// The tolerated clock difference of other machines in checks of `exp` and `nbf`; at most "60s".
    #[config(env = "ADIEU_LEEWAY", default = "0s", deserialize_with = text)]
    pub leeway: Duration,

    /// The maximum time after which a logout at another node takes effect here.
    #[config(env = "ADIEU_MAX_STALENESS", default = "2s", deserialize_with = text)]
    pub max_staleness: Duration,

    /// What happens to tokens while the revocations here are older than `max_staleness`: "reject" (503) or "accept".
    #[config(env = "ADIEU_STALE_POLICY", default = "reject", deserialize_with = text)]
    pub stale_policy: StalePolicy,

    /// The URL of a node to follow. Then this server is a relay: it has no accounts of its own, verifies the node's tokens and
    /// those of each `trusted_issuer`, and serves those who follow it. `issuer` must be the node's, and `max_staleness` not more
    /// than the node's.
    #[config(env = "ADIEU_FOLLOW", deserialize_with = text)]
    pub follow: Option<String>,

    /// The name of this server's client at the node that it follows.
    #[config(env = "ADIEU_FOLLOW_CLIENT", deserialize_with = text)]
    pub follow_client: Option<String>,

    /// The file with the secret of that client. Not set: the secret is in the environment, as ADIEU_FOLLOW_SECRET.
    #[config(env = "ADIEU_FOLLOW_SECRET_FILE", deserialize_with = text)]
    pub follow_secret_file: Option<PathBuf>,

    /// The file with the authorities of the node's certificate, in PEM, which are then the only trusted ones. Not set: those of the system.
    #[config(env = "ADIEU_FOLLOW_CA", deserialize_with = text)]
    pub follow_ca: Option<PathBuf>,

    /// The file with the certificate of this server as a client of the node, in PEM, if the node has `tls_client_ca`; `follow_key` is needed
    /// too. These files and `follow_ca` are read again, so that a renewed certificate needs no restart.
    #[config(env = "ADIEU_FOLLOW_CERTIFICATE", deserialize_with = text)]
    pub follow_certificate: Option<PathBuf>,

    /// The file with the private key of that certificate, in PEM.
    #[config(env = "ADIEU_FOLLOW_KEY", deserialize_with = text)]
    pub follow_key: Option<PathBuf>,

    /// Whether strangers may register: "open", "invite" (once with each invitation of an administrator), or "closed" (users are then added
    /// with `adieu user add`). Not set: "open" while `listen` and `console_listen` are only Unix sockets and loopback addresses and there are
    /// no `trusted_proxies`, and "closed" otherwise. A proxy on this machine that is not among `trusted_proxies` is not noticed: behind one,
    /// set this.
    #[config(env = "ADIEU_REGISTRATION", deserialize_with = text)]
    pub registration: Option<Registration>,

    /// Whether the server has pages for people: `/account`, where users see and end their sessions. With "false" there is only the
    /// API.
    #[config(env = "ADIEU_PAGES", default = true, deserialize_with = text)]
    pub pages: bool,

    /// Whether `/console` is one of the pages: there, administrators see and change users, sessions, revocations,
    /// clients and keys. Other users cannot open it. It needs `pages`.
    #[config(env = "ADIEU_CONSOLE", default = true, deserialize_with = text)]
    pub console: bool,

    /// The address and port to serve the console on, and nowhere else: for example "127.0.0.1:8081", or an address that only the network of
    /// the administrators reaches. Everything else is served there too, with connections of its own. Not set: the console is served
    /// wherever the server listens.
    #[config(env = "ADIEU_CONSOLE_LISTEN", deserialize_with = text)]
    pub console_listen: Option<SocketAddr>,

    /// The minimum number of characters of a new password. The default rejects only the empty one, so that clients of a small
    /// Flask API continue to work; NIST SP 800-63B requires 15, or 8 with a second factor.
    #[config(env = "ADIEU_MIN_PASSWORD_LENGTH", default = "1", deserialize_with = text)]
    pub min_password_length: NonZeroUsize,

    /// The number of passwords that are hashed at once, each with 19 MiB of memory. Not set: one fewer than there are cores,
    /// at least one, so that logins can't starve other requests.
    #[config(env = "ADIEU_HASHING_THREADS", deserialize_with = text)]
    pub hashing_threads: Option<NonZeroUsize>,

    /// The maximum number of passwords that wait to be hashed; further logins get 503 at once. One address (for IPv6: one /64
    /// network) gets a quarter of the places, and 429 beyond that.
    #[config(env = "ADIEU_HASHING_QUEUE", default = "64", deserialize_with = text)]
    pub hashing_queue: NonZeroUsize,

    /// The limit on failed logins of one account: so many at once, which become available again evenly over the time.
    #[config(env = "ADIEU_LOGIN_ATTEMPTS_PER_ACCOUNT", default = "10 per 5m", deserialize_with = text)]
    pub login_attempts_per_account: Rate,

    /// The limit on failed logins from one address (for IPv6: one /64 network).
    #[config(env = "ADIEU_LOGIN_ATTEMPTS_PER_ADDRESS", default = "100 per 5m", deserialize_with = text)]
    pub login_attempts_per_address: Rate,

    /// The limit on revocations that one client appends: so many at once, which become available again evenly over the time;
    /// more get 429, and a longer list gets 422. What could not be written is not counted. Each is kept in memory and on disk
    /// until the tokens that it matches have expired. `adieu client add` and `change` give a client a quota of its own. Each node
    /// counts its own requests since its start: at n nodes a client may append n times as many. All clients of a relay share the
    /// quota of the relay's client at its node.
    #[config(env = "ADIEU_CLIENT_REVOCATION_QUOTA", default = "10000 per 1h", deserialize_with = text)]
    pub client_revocation_quota: Rate,

    /// The maximum time for which a revocation of a client is kept, by its `keep_until` or `expires_at`. Not set: the lifetime of
    /// the longest-lived token that this server issues or accepts. A client can have one of its own. The largest `clock_skew`
    /// of a trusted issuer, at least 3 s, is added: the clock of a client may be ahead as well.
    #[config(env = "ADIEU_CLIENT_REVOCATION_HORIZON", deserialize_with = text)]
    pub client_revocation_horizon: Option<Duration>,

    /// The limit on tokens that one client with the capability `reset-password` issues: so many at once, which become available again evenly
    /// over the time; more get 429. It also bounds how fast someone who has the client's secret can take over accounts. Each node counts for
    /// itself.
    #[config(env = "ADIEU_CLIENT_RESET_QUOTA", default = "100 per 1h", deserialize_with = text)]
    pub client_reset_quota: Rate,

    /// The limit on events from one address (for IPv6: one /64 network), and on events of one issuer: so many at once, which become
    /// available again evenly over the time; more get 429. Each node counts for itself.
    #[config(env = "ADIEU_EVENT_QUOTA", default = "6000 per 1m", deserialize_with = text)]
    pub event_quota: Rate,

    /// The receivers of webhooks about revocations (Standard Webhooks; docs/webhooks.md). Each is a table, `[[webhook]]`, or
    /// here one in braces, with `name`, `url` and `secret_file` (`whsec_…`; several, one a line, while one replaces another):
    /// `[{ name = "shop", url = "https://shop.example/hooks/adieu", secret_file = "/etc/adieu/shop.whsec" }]`. There are also
    /// `types` (of the messages to send; all by default) and `allow_private` (allows private addresses and HTTP without TLS).
    #[config(env = "ADIEU_WEBHOOK", default = [], deserialize_with = tables)]
    pub webhook: Vec<Webhook>,

    /// The maximum size of a request body, in bytes; a longer one gets 413.
    #[config(env = "ADIEU_MAX_BODY_BYTES", default = "65536", deserialize_with = text)]
    pub max_body_bytes: NonZeroUsize,

    /// The maximum number of open connections. One address (for IPv6: one /64 network) gets a quarter of them, unless it is a
    /// trusted proxy; a quarter is reserved for trusted proxies and this machine. If there are no more, an idle connection is
    /// closed for a new one.
    #[config(env = "ADIEU_MAX_CONNECTIONS", default = "10000", deserialize_with = text)]
    pub max_connections: NonZeroUsize,

    /// The timeout for the head of a request.
    #[config(env = "ADIEU_HEADER_TIMEOUT", default = "30s", deserialize_with = text)]
    pub header_timeout: Duration,

    /// The time after which an idle connection is closed. It must be longer than that of proxies and load balancers (mostly
    /// 60 s): they would lose requests that they send while the connection is being closed.
    #[config(env = "ADIEU_KEEP_ALIVE_TIMEOUT", default = "75s", deserialize_with = text)]
    pub keep_alive_timeout: Duration,

    /// The timeout from the head of a request to its response: 408 if its body has not arrived, and 503 if the server is slow.
    /// A client that reads nothing of its response for this time is disconnected.
    #[config(env = "ADIEU_REQUEST_TIMEOUT", default = "30s", deserialize_with = text)]
    pub request_timeout: Duration,

    /// How long the server retries to reach PostgreSQL or Redis at the start: they may start at the same time.
    #[config(env = "ADIEU_START_TIMEOUT", default = "30s", deserialize_with = text)]
    pub start_timeout: Duration,

    /// How long the server continues to accept requests after SIGTERM or Ctrl-C, while `/readyz` answers 503, so that load
    /// balancers stop sending requests first.
    #[config(env = "ADIEU_SHUTDOWN_DELAY", default = "0s", deserialize_with = text)]
    pub shutdown_delay: Duration,

    /// How long a server that stops waits for its last requests to finish.
    #[config(env = "ADIEU_DRAIN_TIMEOUT", default = "30s", deserialize_with = text)]
    pub drain_timeout: Duration,

    /// The proxies whose `X-Forwarded-For` is trusted: networks, and "unix:" for every process that can connect to a Unix socket,
    /// such as ["10.0.0.0/8", "::1/128", "unix:"]; comma-separated in the environment. The header is ignored from others. A process
    /// on a Unix socket that is not trusted has the address 127.0.0.1.
    #[config(env = "ADIEU_TRUSTED_PROXIES", default = [], deserialize_with = text)]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// The format of the log on standard error: "text", or "json" (one object a line).
    #[config(env = "ADIEU_LOG_FORMAT", default = "text", deserialize_with = text)]
    pub log_format: LogFormat,

    /// The URL of a collector of traces that speaks OTLP over HTTP (port 4318), such as "http://127.0.0.1:4318"; `/v1/traces` is
    /// appended. With it, each request is a span, which continues the trace of the caller (`traceparent`). Not set: no traces.
    #[config(env = "ADIEU_OTLP_ENDPOINT", deserialize_with = text)]
    pub otlp_endpoint: Option<CollectorUrl>,

    /// Of the traces that begin at this server, the part that is sampled, from 0 to 1. The trace of a caller is sampled as the caller says.
    #[config(env = "ADIEU_OTLP_SAMPLE_RATIO", default = "1", deserialize_with = text)]
    pub otlp_sample_ratio: Ratio,

    /// The minimum level of log messages: "error", "warn", "info", "debug" or "trace".
    #[config(env = "ADIEU_LOG_LEVEL", default = "info", deserialize_with = text)]
    pub log_level: tracing::Level,

    /// The file to append audit events to, one JSON object a line, in addition to the log; also those of the command line,
    /// which are only there. Not set: no file. Servers and commands on one machine may share the file; to rotate it, rename it.
    /// A command that would change something fails if the file cannot be opened; a server logs the error and continues.
    #[config(env = "ADIEU_AUDIT_LOG", deserialize_with = text)]
    pub audit_log: Option<PathBuf>,
}

impl Settings {
    /// Returns the names of the revocable claims of an issuer; none if it is neither this server's nor trusted.
    #[must_use]
    pub fn revocable_claims(&self, issuer: &str) -> &[ClaimName] {
        if issuer == self.issuer {
            return &self.revocable_claims;
        }
        let trusted = self.trusted_issuer.iter().find(|trusted| trusted.name == issuer);
        trusted.map_or(&[], |trusted| &trusted.revocable_claims)
    }

    /// Returns the limits of the cache of the tokens of one issuer.
    pub(crate) const fn token_cache(&self) -> CacheLimits {
        const BYTES_EACH: NonZeroUsize = NonZeroUsize::new(2_048).unwrap();
        CacheLimits::new(self.token_cache_entries, self.token_cache_entries.saturating_mul(BYTES_EACH))
    }

    /// Returns whether the tokens of an issuer other than this server are accepted.
    #[must_use]
    pub fn trusts(&self, issuer: &str) -> bool {
        self.trusted_issuer.iter().any(|trusted| trusted.name == issuer)
    }

    /// Returns whether strangers may register. Unless the setting says so, they may only if they are on this machine.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let console = self.console_listen.map(ListenAddress::Tcp);
        let is_local =
            self.listen.iter().chain(&console).all(ListenAddress::is_local) && self.trusted_proxies.is_empty();
        self.registration.unwrap_or(if is_local { Registration::Open } else { Registration::Closed })
    }

    /// Returns the maximum length of the head of a request, in bytes: enough for two of the longest tokens, and for other headers.
    #[must_use]
    pub fn max_head_bytes(&self) -> usize {
        self.max_token_bytes.get().saturating_mul(2).saturating_add(16 * 1024)
    }

    /// Returns how far the clock of a client may be ahead: the largest `clock_skew` of an issuer, at least [`DEFAULT_SKEW`].
    #[must_use]
    pub fn client_skew(&self) -> Duration {
        self.trusted_issuer.iter().map(|issuer| issuer.clock_skew).fold(DEFAULT_SKEW, Duration::max)
    }

    /// Returns the maximum time for which a revocation of a client is kept.
    #[must_use]
    pub fn client_horizon(&self) -> Duration {
        let accepted = self.trusted_issuer.iter().map(|issuer| issuer.max_lifetime);
        self.client_revocation_horizon.unwrap_or_else(|| accepted.fold(self.session_lifetime, Duration::max))
    }
}

/// Returns the annotated sample file: every setting, commented out, with its default, and whether a reload applies it.
#[must_use]
pub fn sample() -> String {
    let template = confique::toml::template::<Settings>(confique::toml::FormatOptions::default());
    let mut text = String::with_capacity(2 * template.len());
    for line in template.lines() {
        if let Some((name, _)) =
            line.strip_prefix('#').and_then(|line| line.split_once(" =")).filter(|(name, _)| !name.contains(' '))
        {
            text += match is_reloadable(name) {
                true => "# A reload applies a change.\n",
                false => "# A change needs a restart.\n",
            };
        }
        text += line;
        text.push('\n');
    }
    text
}
