//! Finds data that others on the machine or on the network could read or change because of the settings. The server
//! logs these findings once, at the start.
//!
//! They are warnings, not errors: a container may have a user of its own, and a network may be a cable.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use reqwest::Url;

use crate::{
    config::{EventIssuer, Found, ListenAddress, Settings, StoreAddress, TrustedProxy},
    high_water,
    store::store_file,
};

/// Returns each finding as one sentence without a full stop.
#[must_use]
pub fn exposures(settings: &Settings) -> Vec<String> {
    [exposed_on_the_network(settings), exposed_files(settings)].concat()
}

/// Returns the findings about what other machines can read or change on the way.
#[must_use]
pub fn exposed_on_the_network(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let urls = settings.trusted_issuer.iter().flat_map(|issuer| {
        let of_events = issuer.event_issuer.as_ref().map(EventIssuer::url);
        [
            ("jwks_url", issuer.jwks_url.as_deref()),
            ("discovery", issuer.discovery.as_deref()),
            ("event_issuer", of_events),
        ]
    });
    for (setting, url) in urls.chain([("follow", settings.follow.as_deref())]) {
        if let Some(host) = url.and_then(plain_host) {
            found.push(match setting {
                "follow" => format!(
                    "follow goes to {host} over http://, where the client's secret can be read and revocations can be left \
                     out on the way; use https://"
                ),
                _ => format!(
                    "{setting} goes to {host} over http://, where the keys can be replaced on the way; use https://"
                ),
            });
        }
    }
    found.extend(plain_engines(settings));
    if let Some(host) = settings.otlp_endpoint.as_ref().and_then(|collector| plain_host(&collector.traces())) {
        found.push(format!(
            "otlp_endpoint goes to {host} over http://, where traces can be read on the way; use https://"
        ));
    }
    found.extend(plain_addresses(settings));
    found
}

/// Returns a warning for each engine on another machine whose connections are not encrypted.
fn plain_engines(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(host) = settings.revocations.as_ref().and_then(|address| plain_host(address.0.expose())) {
        found.push(format!(
            "revocations goes to {host} over redis://, where sessions and keys can be read and changed on the way; use rediss://"
        ));
    }
    if let Some(StoreAddress::Postgres(address)) = &settings.store
        && let Ok(url) = Url::parse(address.expose())
    {
        let parameter =
            |name: &str| url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
        let host = parameter("hostaddr").or_else(|| parameter("host")).or_else(|| url.host_str().map(str::to_owned));
        let host = host.filter(|host| !host.is_empty() && !host.starts_with('/') && !is_here(host));
        if let (Some(host), Some("disable" | "prefer")) = (host, parameter("sslmode").as_deref()) {
            found.push(format!(
                "store goes to {host} without TLS, where everything can be read and changed on the way; remove sslmode from it"
            ));
        }
    }
    found
}

/// Returns a warning for each address at which other machines send passwords and tokens without TLS, unless proxies do.
fn plain_addresses(settings: &Settings) -> Vec<String> {
    let is_elsewhere =
        |proxy: &TrustedProxy| matches!(proxy, TrustedProxy::Network(network) if !network.network().is_loopback());
    if settings.tls_certificate.is_some() || settings.trusted_proxies.iter().any(is_elsewhere) {
        return Vec::new();
    }
    let warning = |address: &ListenAddress| {
        format!(
            "listen {address} is for other machines and has no TLS: passwords and tokens can be read on the way; set \
             tls_certificate and tls_key, or put a proxy with TLS in front and set trusted_proxies; for one on this machine, listen \
             on 127.0.0.1"
        )
    };
    let console = settings.console_listen.map(ListenAddress::Tcp);
    settings.listen.iter().chain(&console).filter(|address| !address.is_local()).map(warning).collect()
}

/// Returns the host of a URL that is not encrypted, if it is another machine.
fn plain_host(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    let host = uri.host().filter(|_| matches!(uri.scheme_str(), Some("http" | "redis")))?;
    (!is_here(host)).then(|| host.to_owned())
}

/// Returns whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || address.parse::<IpNet>().is_ok_and(|net| net.addr().is_loopback());
    is_here || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Returns the findings about what other users of this machine can read or change; only Unix is known.
#[cfg(not(unix))]
#[must_use]
pub fn exposed_files(_: &Settings) -> Vec<String> {
    Vec::new()
}

/// Returns a warning if others can change the file of the settings, or read it and it has a password.
#[cfg(unix)]
pub(crate) fn exposed_settings(settings: &[Found]) -> Option<String> {
    let file = settings.iter().find_map(Found::file)?;
    let has_password = settings.iter().any(|found| found.file().is_some() && found.has_password());
    let readers = if has_password { Readers::Group } else { Readers::Everybody };
    exposed(&format!("the settings file {}", file.display()), file, readers)
}

/// See above.
#[cfg(not(unix))]
pub(crate) fn exposed_settings(_: &[Found]) -> Option<String> {
    None
}

/// Who may read a file besides its owner without a warning.
#[cfg(unix)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Owner,
    /// Its group, for example for collecting logs.
    Group,
    /// Everybody, for example for public keys.
    Everybody,
}

/// Returns the findings about what other users of this machine can read or change.
#[cfg(unix)]
#[must_use]
pub fn exposed_files(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let of_issuers = settings.trusted_issuer.iter().filter_map(|issuer| issuer.secret_file.as_ref());
    let webhooks = settings.trusted_issuer.iter().filter_map(|issuer| issuer.webhook.as_ref());
    let of_webhooks = webhooks.filter_map(|webhook| webhook.secret_file.as_ref());
    let of_webhooks = of_webhooks.chain(settings.webhook.iter().map(|webhook| &webhook.secret_file));
    let secrets = of_issuers.chain(of_webhooks).map(|file| ("secret_file", file));
    for (setting, file) in secrets.chain(settings.follow_secret_file.iter().map(|file| ("follow_secret_file", file))) {
        found.extend(exposed(&format!("{setting} {}", file.display()), file, Readers::Owner));
    }
    for (setting, file) in [("tls_key", &settings.tls_key), ("follow_key", &settings.follow_key)] {
        if let Some(file) = file {
            found.extend(exposed(&format!("{setting} {}", file.display()), file, Readers::Group));
        }
    }
    for address in &settings.listen {
        if let ListenAddress::Unix(path) = address {
            found.extend(replaceable(&address.to_string(), path));
        }
    }
    let of_issuers = settings.trusted_issuer.iter().filter_map(|issuer| issuer.pem_file.as_ref());
    let authorities = [("tls_client_ca", &settings.tls_client_ca), ("follow_ca", &settings.follow_ca)];
    let authorities = authorities.into_iter().filter_map(|(setting, file)| Some((setting, file.as_ref()?)));
    for (setting, file) in of_issuers.map(|file| ("pem_file", file)).chain(authorities) {
        found.extend(exposed(&format!("{setting} {}", file.display()), file, Readers::Everybody));
    }
    if let Some(file) = &settings.audit_log {
        found.extend(exposed(&format!("audit_log {}", file.display()), file, Readers::Group));
    }
    let mut files = Vec::new();
    if let Some(store) = store_file(settings) {
        let folder = folder_of(&store);
        found.extend(exposed(&format!("the folder {}", folder.display()), folder, Readers::Owner));
        files = files_of(folder, &store);
    }
    let mark = high_water::file(settings);
    if !files.contains(&mark) {
        files.push(mark);
    }
    for file in files {
        let name = file.display().to_string();
        if file.is_symlink() {
            found.push(format!(
                "{name} is a symbolic link; a user who can change its target can change the store, or the mark that detects an \
                 older one"
            ));
        }
        found.extend(exposed(&name, &file, Readers::Owner));
    }
    found
}

/// Returns a warning if others than its owner can read a file or folder, write to it, or replace it; none if it does
/// not exist.
#[cfg(unix)]
fn exposed(name: &str, path: &Path, readers: Readers) -> Option<String> {
    let mode = mode_of(path)?;
    let folder = mode_of(folder_of(path)).unwrap_or(0);
    // Without permission to pass through the folder, a user cannot reach it.
    let may_pass = |class: u32| if path.is_dir() || folder & class != 0 { class * 0o007 } else { 0 };
    let mode = mode & (may_pass(1) | may_pass(0o010));
    let (others, group, what, remedy) = match readers {
        Readers::Owner => (0o006, 0o060, "read or written", "chmod go-rwx"),
        Readers::Group => (0o006, 0o020, "read or written", "chmod g-w,o-rwx"),
        Readers::Everybody => (0o002, 0o020, "written", "chmod go-w"),
    };
    let who = match (mode & others != 0, mode & group != 0) {
        (true, _) => "every user of this machine",
        (false, true) => "every member of its group",
        (false, false) => return replaceable(name, path),
    };
    Some(format!("{name} can be {what} by {who}; run {remedy} on it"))
}

/// Returns a warning if others than its owner can replace a file, whether it exists or not.
#[cfg(unix)]
fn replaceable(name: &str, path: &Path) -> Option<String> {
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    let folder = folder_of(path);
    let mode = mode_of(folder)?;
    (mode & OTHERS_WRITE != 0 && mode & STICKY == 0).then(|| {
        let folder = folder.display();
        format!("{name} can be replaced by every user of this machine; run chmod o-w on {folder}")
    })
}

#[cfg(unix)]
fn mode_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::metadata(path).map(|metadata| metadata.permissions().mode()).ok()
}

#[cfg(unix)]
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the files of the store: in the data folder all files, and elsewhere the files that SQLite names after the
/// store.
#[cfg(unix)]
fn files_of(folder: &Path, store: &Path) -> Vec<PathBuf> {
    let name = store.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let is_ours = |entry: &std::fs::DirEntry| {
        name == crate::store::FILE || entry.file_name().to_string_lossy().starts_with(&name)
    };
    let mut files: Vec<_> = entries.filter(is_ours).map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::config::Flags;

    fn settings(data: &Path, variables: &[(&str, &str)]) -> Settings {
        let flags = Flags { data: Some(data.to_str().unwrap().to_owned()), ..Flags::default() };
        let variable = |(name, value): &(&str, &str)| (format!("ADIEU_{}", name.to_uppercase()).into(), value.into());
        Settings::load(&flags, variables.iter().map(variable)).unwrap()
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_goes_over_the_network_as_it_is_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("not there yet");
        for (url, is_told) in [
            ("http://login.example/", true),
            ("http://10.0.0.7:8080", true),
            ("http://[2001:db8::1]:8080", true),
            ("https://login.example/", false),
            ("http://localhost:8080", false),
            ("http://127.0.0.1:8080", false),
            ("http://[::1]:8080", false),
        ] {
            let issuer = format!("[{{ name = 'shop', jwks_url = '{url}' }}]");
            let found = exposures(&settings(&data, &[("trusted_issuer", &issuer)]));
            assert_eq!(found.len(), usize::from(is_told), "{url}: {found:?}");
            let found = exposures(&settings(&data, &[("follow", url), ("follow_client", "shop")]));
            assert_eq!(found.len(), usize::from(is_told), "{url}: {found:?}");
        }
        let found = exposures(&settings(&data, &[("follow", "http://u:s3cret@login.example")]));
        assert!(found.iter().all(|told| told.contains("login.example") && !told.contains("s3cret")), "{found:?}");
    }

    #[test]
    fn an_engine_or_a_collector_on_another_machine_without_tls_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("not there yet");
        for (setting, value, is_told) in [
            ("revocations", "redis://:s3cret@redis.example:6379/0", true),
            ("revocations", "rediss://:s3cret@redis.example:6379/0", false),
            ("revocations", "redis://127.0.0.1:6379", false),
            ("store", "postgres://a:s3cret@db.example/adieu?sslmode=disable", true),
            ("store", "postgres://a:s3cret@db.example/adieu?sslmode=prefer", true),
            ("store", "postgres://a@localhost/adieu?sslmode=disable&host=db.example", true),
            ("store", "postgres://a@db.example/adieu", false),
            ("store", "postgres://a@db.example/adieu?sslmode=require", false),
            ("store", "postgres://a@localhost/adieu?sslmode=disable", false),
            ("store", "postgres://a@localhost/adieu?sslmode=disable&host=/run/postgresql", false),
            ("otlp_endpoint", "http://collector.example:4318", true),
            ("otlp_endpoint", "https://collector.example:4318", false),
            ("otlp_endpoint", "http://127.0.0.1:4318", false),
        ] {
            let found = exposures(&settings(&data, &[(setting, value)]));
            assert_eq!(found.len(), usize::from(is_told), "{value}: {found:?}");
            assert!(found.iter().all(|told| told.starts_with(setting) && !told.contains("s3cret")), "{found:?}");
        }
    }

    #[test]
    fn an_address_for_other_machines_without_tls_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (certificate, key) = (("tls_certificate", "certificate.pem"), ("tls_key", "key.pem"));
        for (listen, others, expected) in [
            ("127.0.0.1:8080,[::1]:8080,unix:/run/verify.sock", &[][..], 0),
            ("0.0.0.0:8080", &[], 1),
            ("[::]:8080,127.0.0.1:1,10.0.0.7:8080", &[], 2),
            ("0.0.0.0:8080", &[("trusted_proxies", "10.0.0.0/8")], 0),
            ("0.0.0.0:8080", &[("trusted_proxies", "127.0.0.1/32,::1/128")], 1),
            ("127.0.0.1:8080", &[("trusted_proxies", "127.0.0.1/32")], 0),
            ("0.0.0.0:8080", &[certificate, key], 0),
        ] {
            let variables: Vec<_> = std::iter::once(("listen", listen)).chain(others.iter().copied()).collect();
            let found = exposures(&settings(&data, &variables));
            assert_eq!(
                found.iter().filter(|told| told.contains("has no TLS")).count(),
                expected,
                "{listen}: {found:?}"
            );
        }
    }

    #[test]
    fn secrets_of_webhooks_are_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let [received, sent] = ["received", "sent"].map(|name| folder.path().join(name));
        let issuer = format!(
            "[{{ name = 'shop', pem_file = 'x', webhook = {{ name = 'shop', preset = 'clerk', secret_file = '{}' }} }}]",
            received.display()
        );
        let webhook =
            format!("[{{ name = 'shop', url = 'https://shop.example', secret_file = '{}' }}]", sent.display());
        let settings = settings(&folder.path().join("data"), &[("trusted_issuer", &issuer), ("webhook", &webhook)]);
        for (mode, is_told) in [(0o600, false), (0o644, true)] {
            for file in [&received, &sent] {
                fs::write(file, "x").unwrap();
                chmod(file, mode);
                let found = exposures(&settings);
                let name = format!("secret_file {}", file.display());
                assert_eq!(found.iter().any(|line| line.contains(&name)), is_told, "{found:?}");
            }
        }
    }

    /// Lists which of these cause a warning, with these modes: the folder of the store, the store, a secret, the
    /// mark, the audit trail and a public key.
    #[test]
    fn what_others_than_the_owner_can_read_or_write_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let [data, secret, mark, trail, key] =
            ["data", "secret", "mark", "trail", "key"].map(|name| folder.path().join(name));
        fs::create_dir(&data).unwrap();
        let store = data.join("adieu.sqlite");
        for file in [&store, &secret, &mark, &trail, &key] {
            fs::write(file, "x").unwrap();
        }
        let issuer = format!(
            "[{{ name = 'shop', secret_file = '{}' }}, {{ name = 'bank', pem_file = '{}', algorithm = 'ES256' }}]",
            secret.display(),
            key.display()
        );
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (of_secret, of_mark, of_trail) = (text(&secret), text(&mark), text(&trail));
        let variables = [
            ("trusted_issuer", issuer.as_str()),
            ("follow_secret_file", &of_secret),
            ("high_water_file", &of_mark),
            ("audit_log", &of_trail),
        ];
        let settings = settings(&data, &variables);
        let told = |of_parent: u32, modes: [u32; 6]| {
            chmod(folder.path(), of_parent);
            for (path, mode) in [&data, &store, &secret, &mark, &trail, &key].into_iter().zip(modes) {
                chmod(path, mode);
            }
            let found = exposures(&settings);
            let about = |name: &str| found.iter().find(|line| line.contains(name)).cloned().unwrap_or_default();
            let who = |line: String| match () {
                () if line.contains("every user") && line.contains("replaced") => 'r',
                () if line.contains("every user") => 'o',
                () if line.contains("its group") => 'g',
                () => '-',
            };
            assert_eq!(about("follow_secret_file").is_empty(), about("secret_file").is_empty());
            ["the folder", "adieu.sqlite", "secret_file", "mark", "audit_log", "pem_file"]
                .map(|name| who(about(name)))
                .iter()
                .collect()
        };
        let private = [0o700, 0o600, 0o600, 0o600, 0o600, 0o644];
        for (of_parent, modes, expected) in [
            (0o755, private, "------"),
            (0o755, [0o700, 0o666, 0o600, 0o600, 0o600, 0o600], "------"),
            (0o755, [0o711, 0o644, 0o600, 0o600, 0o600, 0o600], "-o----"),
            (0o755, [0o710, 0o640, 0o600, 0o600, 0o600, 0o600], "-g----"),
            (0o755, [0o755, 0o600, 0o600, 0o600, 0o600, 0o600], "o-----"),
            (0o755, [0o750, 0o600, 0o600, 0o600, 0o600, 0o600], "g-----"),
            (0o755, [0o700, 0o600, 0o644, 0o604, 0o604, 0o646], "--oooo"),
            (0o755, [0o700, 0o600, 0o640, 0o640, 0o640, 0o664], "--gg-g"),
            (0o755, [0o700, 0o600, 0o620, 0o660, 0o660, 0o640], "--ggg-"),
            (0o700, [0o700, 0o600, 0o666, 0o666, 0o666, 0o666], "------"),
            (0o1777, private, "------"),
            (0o777, private, "r-rrrr"),
        ] {
            let found: String = told(of_parent, modes);
            assert_eq!(found, expected, "{of_parent:o} {modes:?}");
        }
    }

    #[test]
    fn a_socket_that_others_than_the_owner_can_replace_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (sockets, data) = (folder.path().join("sockets"), folder.path().join("data"));
        fs::create_dir(&sockets).unwrap();
        let listen = format!("127.0.0.1:8080,unix:{}/verify.sock", sockets.display());
        for (mode, is_told) in [(0o755, false), (0o770, false), (0o1777, false), (0o777, true)] {
            chmod(&sockets, mode);
            let found = exposures(&settings(&data, &[("listen", &listen)]));
            assert_eq!(found.iter().any(|told| told.contains("verify.sock can be replaced")), is_told, "{found:?}");
        }
    }

    #[test]
    fn a_symbolic_link_in_the_data_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("elsewhere"), "").unwrap();
        chmod(&folder.path().join("elsewhere"), 0o600);
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        chmod(&data, 0o700);
        assert_eq!(exposures(&settings(&data, &[])), Vec::<String>::new());
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), data.join("high-water")).unwrap();
        let found = exposures(&settings(&data, &[]));
        assert!(matches!(&found[..], [told] if told.contains("high-water is a symbolic link")), "{found:?}");
        // Anywhere.
        let mark = folder.path().join("mark");
        fs::remove_file(data.join("high-water")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &mark).unwrap();
        let found = exposures(&settings(&data, &[("high_water_file", mark.to_str().unwrap())]));
        assert!(matches!(&found[..], [told] if told.contains("mark is a symbolic link")), "{found:?}");
    }
}
