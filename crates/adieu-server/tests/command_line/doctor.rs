//! The doctor names each problem with what to do, and changes nothing, whether a server runs or not.
#![cfg(unix)]

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use serde_json::Value;
use test_servers::make_certificate;

use crate::support::{Done, Place};

const CHECKS: [&str; 14] = [
    "settings",
    "files",
    "audit",
    "disk",
    "space",
    "descriptors",
    "store",
    "clock",
    "network",
    "listen",
    "tls",
    "proxies",
    "issuers",
    "webhooks",
];

impl Place {
    /// Runs the doctor with these settings in a file.
    fn doctor(&self, settings: &str) -> Done {
        self.write("adieu.toml", settings);
        self.run(&["doctor", "--json", "--config", "adieu.toml"])
    }

    /// A store of which the doctor has nothing to say.
    fn sound() -> Self {
        let place = Self::with_user("jose");
        fs::set_permissions(place.path("data"), fs::Permissions::from_mode(0o700)).unwrap();
        place
    }
}

impl Done {
    /// Returns the findings of one check that are problems.
    fn problems(&self, check: &str) -> Vec<(String, String)> {
        let is_problem = |finding: &Value| finding["check"] == check && finding["status"] != "ok";
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let found = self.objects();
        found
            .iter()
            .filter(|found| is_problem(found))
            .map(|found| (text(&found["status"]), text(&found["message"])))
            .collect()
    }

    /// Expects exactly one problem, of this check, and returns its message.
    #[track_caller]
    fn only_problem(&self, status: &str, check: &str) -> String {
        assert_eq!(self.stderr, "");
        let problems: Vec<_> = self.objects().into_iter().filter(|finding| finding["status"] != "ok").collect();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert_eq!((&problems[0]["check"], &problems[0]["status"]), (&check.into(), &status.into()), "{problems:?}");
        assert_eq!(self.status, if status == "warn" { 1 } else { 2 });
        problems[0]["message"].as_str().unwrap().to_owned()
    }
}

/// The names, sizes and times of all files in a folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        // The index of the write-ahead log is shared memory, not content.
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with("-shm"))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_store_has_no_problem_and_stays_as_it_is_whether_a_server_runs_or_not() {
    let place = Place::sound();
    let before = contents(&place.path("data"));
    let done = place.doctor("").succeeded();
    let checks: Vec<_> = done.objects().iter().map(|found| found["check"].as_str().unwrap().to_owned()).collect();
    assert_eq!(checks, CHECKS);
    assert_eq!(contents(&place.path("data")), before);

    // The first start records its issuer.
    place.server().start().await.stop().await;
    let server = place.server().start().await;
    let before = contents(&place.path("data"));
    let people = place.run(&["doctor"]).succeeded();
    assert_eq!(people.stdout.lines().count(), checks.len());
    assert!(people.stdout.lines().all(|line| line.starts_with("ok  ")), "{}", people.stdout);
    assert_eq!(contents(&place.path("data")), before);
    server.stop().await;
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let place = Place::empty();
    let done = place.doctor("");
    assert_eq!(done.status, 1);
    assert!(done.problems("store")[0].1.contains("`adieu serve` creates it"), "{}", done.stdout);
    assert!(done.problems("disk")[0].1.contains("`adieu serve` creates it"), "{}", done.stdout);
    assert!(!place.path("data").exists());
}

#[test]
fn wrong_settings_are_a_failure() {
    let place = Place::sound();
    let message = place.doctor("acces_lifetime = '1h'").only_problem("fail", "settings");
    assert!(message.contains("acces_lifetime in adieu.toml: no such setting"), "{message}");
    let usage = place.run(&["doctor", "--jsn"]);
    assert_eq!((usage.status, usage.stdout.as_str()), (2, ""));
}

#[test]
fn files_that_others_can_read_are_named() {
    let place = Place::sound();
    fs::set_permissions(place.path("data"), fs::Permissions::from_mode(0o755)).unwrap();
    let message = place.doctor("").only_problem("warn", "files");
    assert!(message.ends_with("run chmod go-rwx on it"), "{message}");
}

#[test]
fn a_folder_that_can_not_be_written_is_a_failure() {
    let place = Place::sound();
    let done = place.run_under("ulimit -f 0", &["doctor", "--json"], b"");
    let [(status, message)] = done.problems("disk").try_into().unwrap();
    assert_eq!((status.as_str(), message.contains("File too large"), done.status), ("fail", true, 2), "{message}");
    let names = contents(&place.path("data")).into_iter().map(|(name, _)| name);
    assert!(names.into_iter().all(|name| name.starts_with("adieu.sqlite")), "no file of the doctor is left");
}

#[test]
fn a_disk_without_space_is_a_failure() {
    let place = Place::empty();
    // A file system without blocks.
    let done = place.run(&["doctor", "--json", "--data", "/proc/adieu"]);
    let [(status, message)] = done.problems("space").try_into().unwrap();
    assert_eq!((status.as_str(), message.starts_with("0 MiB are free")), ("fail", true), "{message}");
    assert_eq!(done.status, 2);
}

#[test]
fn few_descriptors_are_named() {
    let place = Place::sound();
    let message = place.run_under("ulimit -n 256", &["doctor", "--json"], b"").only_problem("warn", "descriptors");
    assert!(message.contains("a limit of 256 on open files allows 192 connections"), "{message}");
}

#[test]
fn a_clock_that_is_behind_the_store_is_a_failure() {
    let place = Place::sound();
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let file = fs::File::options().append(true).open(place.path("data/adieu.sqlite")).unwrap();
    file.set_modified(tomorrow).unwrap();
    let message = place.doctor("").only_problem("fail", "clock");
    assert!(message.contains("set the clock"), "{message}");
}

#[test]
fn a_store_that_is_damaged_of_another_version_or_out_of_reach_is_named() {
    let place = Place::sound();
    let change = |sql: &str| rusqlite::Connection::open(place.path("data/adieu.sqlite")).unwrap().execute_batch(sql);
    change("UPDATE component SET version = version + 1 WHERE name = 'accounts'").unwrap();
    let message = place.doctor("").only_problem("fail", "store");
    assert!(message.contains("was written by a newer version of adieu (accounts schema"), "{message}");
    change("UPDATE component SET version = version - 2 WHERE name = 'accounts'").unwrap();
    let before = contents(&place.path("data"));
    let message = place.doctor("").only_problem("warn", "store");
    assert!(message.contains("is of an older version; back it up"), "{message}");
    assert_eq!(contents(&place.path("data")), before);
    change("UPDATE component SET version = version + 1 WHERE name = 'accounts'").unwrap();
    place.doctor("").succeeded();

    let other = Place::sound();
    let file = other.path("data/adieu.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    bytes[8_192..12_288].fill(0xAB);
    fs::write(&file, bytes).unwrap();
    let message = other.doctor("").only_problem("fail", "store");
    assert!(message.contains("damaged"), "{message}");

    // A port on which nothing listens.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = Place::sound();
    other.write("adieu.toml", "");
    fs::set_permissions(other.path("adieu.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let done = other.doctor(&format!("store = 'postgres://jose:s3cret@127.0.0.1:{port}/adieu'"));
    let message = done.only_problem("fail", "store");
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn an_address_without_tls_is_named() {
    let message = Place::sound().doctor("listen = '0.0.0.0:8080'").only_problem("warn", "network");
    assert!(message.contains("set tls_certificate and tls_key"), "{message}");
}

#[test]
fn an_address_of_another_machine_and_a_missing_folder_of_a_socket_are_named() {
    let place = Place::sound();
    // RFC 5737: no machine has it.
    for settings in ["listen = ['127.0.0.1:8080', '192.0.2.1:8080']", "metrics_listen = '192.0.2.1:9464'"] {
        let done = place.doctor(&format!("{settings}\ntrusted_proxies = ['192.0.2.0/24']"));
        let [(status, message)] = done.problems("listen").try_into().unwrap();
        assert!(status == "fail" && message.ends_with("; use an address of this machine"), "{message}");
    }
    let folder = place.path("run");
    let settings = format!("listen = 'unix:{}'", folder.join("adieu.sock").display());
    let message = place.doctor(&settings).only_problem("warn", "listen");
    assert!(message.contains(&format!("the folder {} does not exist", folder.display())), "{message}");
    fs::create_dir(folder).unwrap();
    place.doctor(&settings).succeeded();
}

#[test]
fn an_address_or_a_socket_that_a_server_can_not_have_is_a_failure() {
    let place = Place::sound();
    place.write("file", "");
    let file = place.path("file").display().to_string();
    let long = place.path(&"x".repeat(120)).display().to_string();
    let socket = place.path("adieu.sock").display().to_string();
    for (settings, why) in [
        ("listen = ['127.0.0.1:8080', '127.0.0.1:8080']".to_owned(), "is taken by listen 127.0.0.1:8080"),
        ("metrics_listen = '127.0.0.1:8080'".to_owned(), "metrics_listen 127.0.0.1:8080 is taken by listen"),
        ("console_listen = '0.0.0.0:8080'".to_owned(), "console_listen 0.0.0.0:8080 is taken by listen"),
        (format!("listen = 'unix:{file}'"), "the file exists and is not a socket"),
        (format!("listen = 'unix:{long}'"), "the path is too long for a Unix socket"),
        (format!("listen = 'unix:{socket}'\nunix_socket_owner = 'nobody-here'"), "there is no owner \"nobody-here\""),
    ] {
        let done = place.doctor(&settings);
        let [(status, message)] = done.problems("listen").try_into().unwrap();
        assert!(status == "fail" && message.contains(why), "{message}");
        assert_eq!(done.status, 2);
    }
    place.doctor("listen = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:8080', '[::1]:8080']").succeeded();
}

#[test]
fn a_mark_that_can_not_be_kept_is_a_failure() {
    let place = Place::sound();
    place.write("file", "");
    for (file, why) in [("data", "is not a regular file"), ("file/mark", "Not a directory")] {
        let done = place.doctor(&format!("high_water_file = '{file}'"));
        let [(status, message)] = done.problems("files").try_into().unwrap();
        assert!(status == "fail" && message.contains(file) && message.contains(why), "{message}");
    }
    place.doctor("high_water_file = 'new/mark'").succeeded();
    assert!(!place.path("new").exists());
}

#[test]
fn revocations_out_of_reach_are_a_failure_also_where_there_is_no_store() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let done = Place::empty().doctor(&format!("revocations = 'redis://127.0.0.1:{port}'"));
    let [(status, message)] = done.problems("store").try_into().unwrap();
    assert!(status == "fail" && message.contains("cannot open redis://127.0.0.1"), "{message}");
}

#[test]
fn settings_that_others_can_change_or_with_a_password_that_others_can_read_are_named() {
    let place = Place::sound();
    fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let store = "store = 'postgres://jose:s3cret@127.0.0.1:1/adieu'";
    for (mode, settings, told) in [
        (0o644, "", None),
        (0o666, "", Some("the settings file adieu.toml can be written by every user")),
        (0o640, store, None),
        (0o644, store, Some("the settings file adieu.toml can be read or written by every user")),
    ] {
        // Set before the content, as for a file that exists.
        place.write("adieu.toml", "");
        fs::set_permissions(place.path("adieu.toml"), fs::Permissions::from_mode(mode)).unwrap();
        let done = place.doctor(&format!("log_level = 'info'\n{settings}"));
        let problems = done.problems("files");
        assert_eq!(problems.len(), usize::from(told.is_some()), "{problems:?}");
        assert!(problems.iter().all(|(_, message)| message.starts_with(told.unwrap())), "{problems:?}");
    }
}

#[test]
fn an_audit_log_that_can_not_be_written_is_a_failure() {
    let place = Place::sound();
    for (file, why) in
        [("data", "is a directory"), ("missing/audit.log", "No such file"), ("adieu.toml/a", "Not a dir")]
    {
        let message = place.doctor(&format!("audit_log = '{file}'")).only_problem("fail", "audit");
        assert!(message.contains(file) && message.contains(why), "{message}");
    }
    let new = "audit_log = 'audit.log'";
    place.doctor(new).succeeded();
    assert!(!place.path("audit.log").exists());
    place.write("audit.log", "");
    fs::set_permissions(place.path("audit.log"), fs::Permissions::from_mode(0o600)).unwrap();
    place.doctor(new).succeeded();
}

#[test]
fn a_secret_of_a_webhook_that_is_missing_wrong_or_readable_is_named() {
    let place = Place::sound();
    let settings = "[[webhook]]\nname = 'shop'\nurl = 'https://shop.example/'\nsecret_file = 'secret'";
    let message = place.doctor(settings).only_problem("fail", "webhooks");
    assert!(message.starts_with("webhook \"shop\": secret_file secret: No such file"), "{message}");
    place.write("secret", "whsec_c2VjcmV0");
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let message = place.doctor(settings).only_problem("fail", "webhooks");
    assert!(message.contains("24 to 64 bytes") && !message.contains("c2VjcmV0"), "{message}");
    place.write("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    place.doctor(settings).succeeded();
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let message = place.doctor(settings).only_problem("warn", "files");
    assert!(message.starts_with("secret_file secret can be read"), "{message}");
}

#[test]
fn a_certificate_that_expires_or_does_not_fit_its_key_is_named() {
    let place = Place::sound();
    make_certificate(&place.path("."), "127.0.0.1");
    const SETTINGS: &str = "tls_certificate = 'certificate.pem'\ntls_key = 'key.pem'";
    // It is valid for two days.
    let message = place.doctor(SETTINGS).only_problem("warn", "tls");
    assert!(message.starts_with("the certificate expires at ") && message.ends_with("renew it"), "{message}");
    let message = place.doctor("tls_certificate = 'certificate.pem'").only_problem("fail", "tls");
    assert!(message.contains("tls_key is needed too"), "{message}");
    fs::rename(place.path("key.pem"), place.path("old.pem")).unwrap();
    let other = Place::empty();
    make_certificate(&other.path("."), "127.0.0.1");
    fs::copy(other.path("key.pem"), place.path("key.pem")).unwrap();
    let message = place.doctor(SETTINGS).only_problem("fail", "tls");
    assert!(message.contains("cannot be used together"), "{message}");
}

#[test]
fn a_certificate_of_a_relay_that_expires_is_named() {
    let place = Place::sound();
    make_certificate(&place.path("."), "127.0.0.1");
    place.write("secret", "secret");
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    // Nothing listens there, which is the problem of another check.
    let relay = "follow = 'https://127.0.0.1:1'\nfollow_client = 'relay'\nfollow_secret_file = 'secret'\n\
                 follow_certificate = 'certificate.pem'";
    let problems = place.doctor(&format!("{relay}\nfollow_key = 'key.pem'")).problems("tls");
    let [(status, message)] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(status, "warn");
    assert!(message.starts_with("the certificate for the node expires at "), "{message}");
    let problems = place.doctor(relay).problems("tls");
    let [(status, message)] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(status, "fail");
    assert!(message.contains("follow_key is needed too"), "{message}");
}

#[test]
fn proxies_that_reach_no_listener_or_are_everybody_are_named() {
    let place = Place::sound();
    for (settings, wanted) in [
        ("trusted_proxies = ['unix:']", "listen has no Unix socket"),
        ("trusted_proxies = ['10.0.0.0/8']", "no address that other machines reach"),
        ("listen = '0.0.0.0:8080'\ntrusted_proxies = ['0.0.0.0/0']", "every client can choose its address"),
    ] {
        let message = place.doctor(settings).only_problem("warn", "proxies");
        assert!(message.contains(wanted), "{message}");
    }
    for settings in
        ["trusted_proxies = ['127.0.0.1/32', '::1/128']", "listen = '0.0.0.0:80'\ntrusted_proxies = ['10.0.0.0/8']"]
    {
        place.doctor(settings).succeeded();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_without_keys_is_named() {
    let place = Place::sound();
    let issuer = |key: &str| format!("[[trusted_issuer]]\nname = 'shop'\n{key}");
    let message = place.doctor(&issuer("pem_file = 'missing.pem'")).only_problem("fail", "issuers");
    assert!(message.contains("\"shop\"") && message.contains("missing.pem"), "{message}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/keys");
    let message = place.doctor(&issuer(&format!("jwks_url = '{url}'"))).only_problem("fail", "issuers");
    assert!(message.starts_with("no keys of the issuer shop: "), "{message}");

    let node = Place::with_user("jose");
    let server = node.server().start().await;
    place.doctor(&issuer(&format!("jwks_url = '{}/.well-known/jwks.json'", server.url("")))).succeeded();
    let relay = format!("follow = '{}'\nfollow_client = 'relay'\nfollow_secret_file = 'secret'", server.url(""));
    let message = place.doctor(&relay).only_problem("fail", "issuers");
    assert!(message.contains("follow_secret_file: secret can't be read"), "{message}");
    place.write("secret", "adieu_s3cret");
    fs::set_permissions(place.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    place.doctor(&relay).succeeded();
    server.stop().await;
}
