//! Every setting in the sample file can be set in the file and in the environment, and takes effect; an invalid one stops the start with
//! one line that names it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use adieu_server::config::{Flags, Settings, sample};

/// A value other than the default for every setting: its key, the value in a file, and the value in the environment.
const OTHER_VALUES: &[(&str, &str, &str)] = &[
    ("listen", r#"["[::1]:9000", "unix:/run/adieu/verify.sock"]"#, "[::1]:9000, unix:/run/adieu/verify.sock"),
    ("unix_socket_mode", r#""666""#, "666"),
    ("unix_socket_owner", r#""adieu""#, "adieu"),
    ("unix_socket_group", r#""www-data""#, "www-data"),
    ("tls_certificate", r#""/etc/adieu/certificate.pem""#, "/etc/adieu/certificate.pem"),
    ("tls_key", r#""/etc/adieu/key.pem""#, "/etc/adieu/key.pem"),
    ("tls_client_ca", r#""/etc/adieu/clients.pem""#, "/etc/adieu/clients.pem"),
    ("metrics_listen", r#""127.0.0.1:9464""#, "127.0.0.1:9464"),
    ("data", r#""/var/lib/adieu""#, "/var/lib/adieu"),
    ("high_water_file", r#""/var/lib/adieu-mark""#, "/var/lib/adieu-mark"),
    ("store", r#""postgres://adieu@localhost/adieu""#, "postgres://adieu@localhost/adieu"),
    ("revocations", r#""redis://localhost:6379""#, "redis://localhost:6379"),
    ("allow_weaker_durability", "true", "true"),
    ("issuer", r#""https://login.example""#, "https://login.example"),
    ("audience", r#""shop""#, "shop"),
    (
        "trusted_issuer",
        r#"[{ name = "shop", secret_file = "/etc/adieu/shop.secret" }]"#,
        r#"[{ name = "shop", secret_file = "/etc/adieu/shop.secret" }]"#,
    ),
    ("revocable_claims", r#"["tenant", "https://shop.example/device"]"#, "tenant, https://shop.example/device"),
    ("max_token_bytes", "32768", "32768"),
    ("token_cookies", r#""adieu""#, "adieu"),
    ("send_cookies_from_every_site", "true", "true"),
    ("websocket_token", r#"["query", "protocol"]"#, "query, protocol"),
    ("allowed_origins", r#"["https://app.example"]"#, "https://app.example"),
    ("token_cache_entries", "100", "100"),
    ("access_lifetime", r#""5m""#, "5m"),
    ("refresh_lifetime", r#""14d""#, "14d"),
    ("session_lifetime", r#""60d""#, "60d"),
    ("rotation_grace", r#""0s""#, "0s"),
    ("max_sessions_per_user", "5", "5"),
    ("leeway", r#""30s""#, "30s"),
    ("max_staleness", r#""500ms""#, "500ms"),
    ("stale_policy", r#""accept""#, "accept"),
    ("follow", r#""https://login.example""#, "https://login.example"),
    ("follow_client", r#""shop""#, "shop"),
    ("follow_secret_file", r#""/run/secrets/adieu""#, "/run/secrets/adieu"),
    ("follow_ca", r#""/etc/adieu/node.pem""#, "/etc/adieu/node.pem"),
    ("follow_certificate", r#""/etc/adieu/relay.pem""#, "/etc/adieu/relay.pem"),
    ("follow_key", r#""/etc/adieu/relay.key""#, "/etc/adieu/relay.key"),
    ("registration", r#""closed""#, "closed"),
    ("pages", "false", "false"),
    ("console", "false", "false"),
    ("console_listen", r#""127.0.0.1:8081""#, "127.0.0.1:8081"),
    ("min_password_length", "12", "12"),
    ("hashing_threads", "3", "3"),
    ("hashing_queue", "8", "8"),
    ("login_attempts_per_account", r#""3 per 1m""#, "3 per 1m"),
    ("login_attempts_per_address", r#""30 per 1h""#, "30 per 1h"),
    ("client_revocation_quota", r#""500 per 1m""#, "500 per 1m"),
    ("client_revocation_horizon", r#""31d""#, "31d"),
    ("client_reset_quota", r#""20 per 1h""#, "20 per 1h"),
    ("event_quota", r#""100 per 1m""#, "100 per 1m"),
    (
        "webhook",
        r#"[{ name = "shop", url = "https://shop.example/hook", secret_file = "/etc/adieu/shop.whsec" }]"#,
        r#"[{ name = "shop", url = "https://shop.example/hook", secret_file = "/etc/adieu/shop.whsec" }]"#,
    ),
    ("max_body_bytes", "1024", "1024"),
    ("max_connections", "50", "50"),
    ("header_timeout", r#""5s""#, "5s"),
    ("keep_alive_timeout", r#""20s""#, "20s"),
    ("request_timeout", r#""10s""#, "10s"),
    ("start_timeout", r#""5s""#, "5s"),
    ("shutdown_delay", r#""10s""#, "10s"),
    ("drain_timeout", r#""1s""#, "1s"),
    ("trusted_proxies", r#"["10.0.0.0/8", "::1/128", "unix:"]"#, "10.0.0.0/8, ::1/128, unix:"),
    ("log_format", r#""json""#, "json"),
    ("otlp_endpoint", r#""http://127.0.0.1:4318""#, "http://127.0.0.1:4318"),
    ("otlp_sample_ratio", "0.25", "0.25"),
    ("log_level", r#""debug""#, "debug"),
    ("audit_log", r#""/var/log/adieu-audit.jsonl""#, "/var/log/adieu-audit.jsonl"),
];

struct Start {
    folder: tempfile::TempDir,
    flags: Flags,
    environment: Vec<(OsString, OsString)>,
}

impl Start {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), flags: Flags::default(), environment: Vec::new() }
    }

    fn file(mut self, text: &str) -> Self {
        let path = self.folder.path().join("adieu.toml");
        std::fs::write(&path, text).unwrap();
        self.flags.config = Some(path);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn listen(mut self, address: &str) -> Self {
        self.flags.listen = Some(address.to_owned());
        self
    }

    fn load(&self) -> Result<Settings, String> {
        Settings::load(&self.flags, self.environment.clone())
            .map_err(|error| error.to_string().replace(&format!("{}/", self.folder.path().display()), ""))
    }
}

fn defaults() -> Settings {
    Start::new().load().unwrap()
}

fn keys_of_sample() -> BTreeSet<String> {
    let assignment = |line: &str| {
        let (key, _) = line.strip_prefix('#')?.split_once(" =")?;
        key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_').then(|| key.to_owned())
    };
    sample().lines().filter_map(assignment).collect()
}

#[test]
fn the_table_knows_every_setting() {
    let table: BTreeSet<String> = OTHER_VALUES.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(keys_of_sample(), table);
}

#[test]
fn each_can_be_set_in_the_file_and_in_the_environment() {
    for (key, in_file, in_environment) in OTHER_VALUES {
        let from_file = Start::new().file(&format!("{key} = {in_file}")).load().unwrap();
        let variable = format!("ADIEU_{}", key.to_uppercase());
        let from_environment = Start::new().variable(&variable, in_environment).load().unwrap();

        assert_ne!(from_file, defaults(), "{key} in the file changes nothing");
        assert_eq!(from_file, from_environment, "{key}");
    }
}

/// What a reload does with each, and that the sample says so.
#[test]
fn each_is_applied_by_a_reload_or_named() {
    let sample = sample();
    for (key, in_file, _) in OTHER_VALUES.iter().copied() {
        let changed = Start::new().file(&format!("{key} = {in_file}")).load().unwrap();
        let reloaded = defaults().reloaded(changed.clone());
        let is_applied = reloaded.settings == changed;
        let expected = if is_applied { (vec![key], vec![]) } else { (vec![], vec![key]) };
        assert_eq!((reloaded.applied, reloaded.needs_restart), expected);
        assert!(is_applied || reloaded.settings == defaults(), "{key}: half of it");
        let said = if is_applied { "A reload applies a change." } else { "A change needs a restart." };
        // A server speaks TLS from its start or not; after that, its certificate can be replaced.
        let said = if key.starts_with("tls_") { "A reload applies a change." } else { said };
        assert!(sample.contains(&format!("# {said}\n#{key} =")), "{key}: {said}");
    }
}

#[test]
fn the_sample_says_the_defaults() {
    assert_eq!(Start::new().file(&sample()).load().unwrap(), defaults());

    let uncommented: String = sample()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        uncommented.lines().count() >= OTHER_VALUES.len() - 23,
        "all but the twenty-three without a default:\n{uncommented}"
    );
    assert_eq!(Start::new().file(&uncommented).load().unwrap(), defaults());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let address = |start: &Start| start.load().unwrap().listen[0].to_string();
    let start = Start::new().file(r#"listen = "127.0.0.1:1""#);
    assert_eq!(address(&start), "127.0.0.1:1");
    let start = start.variable("ADIEU_LISTEN", "127.0.0.1:2");
    assert_eq!(address(&start), "127.0.0.1:2");
    assert_eq!(address(&start.listen("127.0.0.1:3")), "127.0.0.1:3");
}

#[test]
fn the_environment_may_name_the_file_and_a_flag_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.toml");
    std::fs::write(&path, r#"issuer = "other""#).unwrap();
    let start = Start::new().variable("ADIEU_CONFIG", path.to_str().unwrap());
    assert_eq!(start.load().unwrap().issuer, "other");
    assert_eq!(start.file(r#"issuer = "flag""#).load().unwrap().issuer, "flag");
}

#[test]
fn a_wrong_value_is_named_with_its_source_and_what_would_be_right() {
    let refusals = [
        Start::new().file(r#"access_lifetime = "15 minuets""#),
        Start::new().variable("ADIEU_LOG_FORMAT", "xml"),
        Start::new().listen("8080"),
        Start::new().listen("127.0.0.1:8080,unix:@adieu"),
        Start::new().file("listen = []"),
        Start::new().file("unix_socket_mode = 0o660"),
        Start::new().file("acces_lifetime = \"15m\""),
        Start::new().variable("ADIEU_ISSUERS", "me"),
        Start::new().file("leeway = \"5m\""),
        Start::new().file("max_body_bytes = 0"),
        Start::new().file("max_body_bytes = true"),
        Start::new().file("min_password_length = 1000"),
        Start::new().file("trusted_proxies = [\"ten\"]"),
        Start::new().file("issuer = \"a\"\nissuer = \"b\""),
        Start::new().file("access_lifetime = \"5m\"").variable("ADIEU_ROTATION_GRACE", "10m"),
        Start::new().file("refresh_lifetime = \"200d\""),
        // An invalid value may contain a password.
        Start::new().variable("ADIEU_STORE", "mysql://root:secret@localhost/adieu"),
        Start::new().variable("ADIEU_REVOCATIONS", "redis:secret@localhost"),
        Start::new().variable("ADIEU_REVOCATIONS", "redis://localhost").variable("ADIEU_FOLLOW", "http://localhost"),
        Start::new().file("allow_weaker_durability = \"yes\""),
    ]
    .map(|start| start.load().unwrap_err())
    .join("\n");
    insta::assert_snapshot!(refusals);
}

#[test]
fn a_list_is_accepted_only_where_a_setting_is_one() {
    for name in ["issuer", "audience", "data", "metrics_listen", "access_lifetime", "stale_policy", "follow", "store"] {
        let refused = Start::new().file(&format!("{name} = [\"api\", \"web\"]")).load().unwrap_err();
        assert!(refused.contains(name) && refused.contains("a list is not "), "{refused}");
    }
    let file = r#"
        listen = ["127.0.0.1:1", "127.0.0.1:2"]
        trusted_proxies = ["10.0.0.0/8", "::1/128"]
        revocable_claims = ["tenant", "device"]
        allowed_origins = ["https://a.example", "https://b.example"]
        websocket_token = ["query", "protocol"]
    "#;
    let settings = Start::new().file(file).load().unwrap();
    assert_eq!((settings.listen.len(), settings.trusted_proxies.len(), settings.revocable_claims.len()), (2, 2, 2));
    assert_eq!((settings.allowed_origins.len(), settings.websocket_token.len()), (2, 2));
}

/// In the plain form and in that of Docker's links; each container gets both for each Service of its namespace.
#[test]
fn what_kubernetes_says_of_a_service_of_the_same_name_is_no_setting() {
    let variables = [
        ("ADIEU_SERVICE_HOST", "10.96.0.17"),
        ("ADIEU_SERVICE_PORT", "8080"),
        ("ADIEU_SERVICE_PORT_HTTP", "8080"),
        ("ADIEU_PORT", "tcp://10.96.0.17:8080"),
        ("ADIEU_PORT_8080_TCP", "tcp://10.96.0.17:8080"),
        ("ADIEU_PORT_8080_TCP_PROTO", "tcp"),
        ("ADIEU_PORT_8080_TCP_PORT", "8080"),
        ("ADIEU_PORT_8080_TCP_ADDR", "10.96.0.17"),
        ("ADIEU_PORT_53_UDP", "udp://[fd00::1]:53"),
        ("ADIEU_METRICS_SERVICE_HOST", "fd00::1"),
        ("ADIEU_METRICS_PORT", "tcp://[fd00::1]:9464"),
        ("ADIEU_METRICS_PORT_9464_TCP_ADDR", "fd00::1"),
    ];
    let start = variables.iter().fold(Start::new(), |start, (name, value)| start.variable(name, value));
    assert_eq!(start.load().unwrap(), defaults());
    for (name, value) in [
        ("ADIEU_PORT", "8080"),
        ("ADIEU_PORT", "tcp://adieu:8080"),
        ("ADIEU_SERVICE_HOST", "adieu"),
        ("ADIEU_SERVICE_PORT", "http"),
        ("ADIEU_HOST", "10.96.0.17"),
        ("ADIEU_PORT_8080", "tcp://10.96.0.17:8080"),
        ("ADIEU_PORT_8080_TCP_ADRR", "10.96.0.17"),
        ("ADIEU_TCP_ADDR", "10.96.0.17"),
        ("ADIEU_LISTEN_PORT", "8080"),
    ] {
        let refused = Start::new().variable(name, value).load().unwrap_err();
        assert_eq!(refused, format!("{name} in the environment: no such setting; `adieu config` lists them"));
    }
}

/// Values that the core would reject are rejected here, in a line that names the setting.
#[test]
fn what_contradicts_another_setting_is_refused_before_anything_is_opened() {
    for (key, value, other, bound, how) in [
        ("rotation_grace", "5m", "access_lifetime", "5m", "shorter than"),
        ("access_lifetime", "2h", "refresh_lifetime", "1h", "not be longer than"),
        ("refresh_lifetime", "2h", "session_lifetime", "1h", "not be longer than"),
    ] {
        let variables =
            [(key, value), (other, bound)].map(|(key, value)| (format!("ADIEU_{}", key.to_uppercase()), value));
        let start = variables.iter().fold(Start::new(), |start, (name, value)| start.variable(name, value));
        let line = start.load().unwrap_err();
        assert!(line.starts_with(&format!("{key} from the environment")), "{line}");
        assert!(line.contains(how) && line.contains(&format!(" {other}, which is {bound}")), "{line}");
    }
    let start = Start::new().variable("ADIEU_ACCESS_LIFETIME", "1h").variable("ADIEU_REFRESH_LIFETIME", "1h");
    assert!(start.variable("ADIEU_SESSION_LIFETIME", "1h").load().is_ok(), "equal ones do not contradict each other");
}

/// A list of tables has its own syntax in the file.
#[test]
fn an_issuer_is_a_table_of_the_file() {
    let start = Start::new().file(
        "listen = \"127.0.0.1:1\"\n\n[[trusted_issuer]]\nname = \"shop\"\nsecret_file = \"/shop\"\nmax_lifetime = \"1h\"\n\n\
         [[trusted_issuer]]\nname = \"forum\"\npem_file = \"/forum\"\nalgorithm = \"PS256\"\naccept_missing_token_id = true\n",
    );
    let issuers = start.load().unwrap().trusted_issuer;
    assert_eq!(issuers.len(), 2);
    assert_eq!((issuers[0].name.as_str(), issuers[0].max_lifetime.as_secs()), ("shop", 3600));
    assert!(issuers[1].accept_missing_token_id && !issuers[1].accept_missing_issuer);
}

#[test]
fn an_issuer_that_makes_no_sense_is_named() {
    let refusals = [
        r#"[{ name = "shop" }]"#,
        r#"[{ name = "shop", secret_file = "a", pem_file = "b" }]"#,
        r#"[{ name = "shop", pem_file = "b", algorithm = "HS256" }]"#,
        r#"[{ name = "shop", discovery = "https://shop.example" }]"#,
        r#"[{ discovery = "https://shop.example", jwks_url = "https://shop.example/keys" }]"#,
        r#"[{ name = "shop", pem_file = "b", audience = 7 }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"] }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["logout"], event_audience = ["a"] }]"#,
        r#"[{ name = "shop", pem_file = "b", event_issuer = { discovery = "https://a.example" } }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = {} }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = { name = "a" } }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = { jwks_url = "https://a.example" } }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = { name = "a", discovery = "https://a.example" } }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = { name = "a", secret_file = "c" } }]"#,
        r#"[{ discovery = "https://a.example", events = ["session-revoked"], event_audience = ["a"], event_issuer = { discovery = "https://a.example" } }]"#,
        r#"[{ name = "shop", pem_file = "b", events = ["session-revoked"], event_audience = ["a"] }, { name = "other", pem_file = "b", events = ["session-revoked"], event_audience = ["a"], event_issuer = { name = "shop", jwks_url = "https://a.example" } }]"#,
        r#"[{ name = "shop", pem_file = "b", logout_scope = "all" }]"#,
        r#"[{ name = "shop", pem_file = "b", alias_claims = ["email"] }]"#,
        r#"[{ name = "shop", pem_file = "b", alias_claims = ["name"] }]"#,
        r#"[{ name = "shop", secret_file = "b", algorithm = "ES256" }]"#,
        r#"[{ name = "shop", secret_file = "b", algorithm = "none" }]"#,
        r#"[{ name = "adieu", secret_file = "b" }]"#,
        r#"[{ name = "shop", secret_file = "b" }, { name = "shop", secret_file = "c" }]"#,
        r#"[{ name = "shop", secret_file = "b", accept_missing_isuer = true }]"#,
        r#"[{ name = "shop", secret_file = "b", max_lifetime = "long" }]"#,
        r#"[{ name = "shop", secret_file = "b", subject_claim = "a..b" }]"#,
        r#"[{ name = "shop", secret_file = "b", subject_claim = "a:b" }]"#,
        r#"[{ name = "shop", secret_file = "b", subject_claim = "" }]"#,
        r#"[{ secret_file = "b" }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "sh/op", preset = "clerk", secret_file = "c" } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", preset = "clerk" } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", preset = "okta", secret_file = "c" } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", preset = "hanko" } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", secret_file = "c" } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", secret_file = "c", targets = [{ event = "e" }] } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "shop", secret_file = "c", targets = [{ event = "e", subject = "id" }] } }]"#,
        r#"[{ name = "shop", secret_file = "b", webhook = { name = "w", preset = "clerk", secret_file = "c" } },
            { name = "bank", secret_file = "b", webhook = { name = "w", preset = "workos", secret_file = "c" } }]"#,
        r#"shop"#,
    ]
    .map(|value| Start::new().variable("ADIEU_TRUSTED_ISSUER", value).load().unwrap_err())
    .join("\n");
    insta::assert_snapshot!(refusals);
}

#[test]
fn a_webhook_that_makes_no_sense_is_named() {
    let shop = r#"name = "shop", url = "https://shop.example/hook", secret_file = "a""#;
    for (value, error) in [
        (format!("[{{ {shop} }}, {{ {shop} }}]"), "there are two receivers of this name"),
        (format!("[{{ {shop}, type = 'x' }}]"), "unknown field `type`"),
        (format!("[{{ {} }}]", shop.replace("shop\"", "sh:op\"")), "name must have 1 to 64 letters"),
        (r#"[{ name = "shop", secret_file = "a" }]"#.to_owned(), "missing field `url`"),
        ("shop".to_owned(), "webhook from the environment (ADIEU_WEBHOOK): "),
    ] {
        let refusal = Start::new().variable("ADIEU_WEBHOOK", &value).load().unwrap_err();
        assert!(refusal.contains(error), "{refusal}");
    }
    let relay = Start::new().variable("ADIEU_FOLLOW", "https://node.example");
    let refusal = relay.variable("ADIEU_WEBHOOK", &format!("[{{ {shop} }}]")).load().unwrap_err();
    assert!(refusal.contains("a server that follows another sends no webhooks"), "{refusal}");
}

#[test]
fn a_named_file_that_is_not_there_is_an_error() {
    let mut start = Start::new();
    start.flags.config = Some(PathBuf::from("/nowhere/adieu.toml"));
    assert!(start.load().unwrap_err().starts_with("the settings in /nowhere/adieu.toml can't be read: "));
}
