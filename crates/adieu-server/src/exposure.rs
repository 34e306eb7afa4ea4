//! What others on the machine or on the way could read or change, because of how things are set up: told once, at the start.
//!
//! Nothing of it is an error: a container may have a user of its own, and a network may be a cable. Who did not mean it should
//! know.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::{config::Settings, store::store_file};

/// Each, in one sentence without a full stop.
#[must_use]
pub fn exposures(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let urls = settings.trusted_issuer.iter().filter_map(|issuer| issuer.jwks_url.as_deref());
    for (setting, url) in urls.map(|url| ("jwks_url", url)).chain(settings.follow.as_deref().map(|url| ("follow", url)))
    {
        if let Some(host) = plain_host(url) {
            found.push(match setting {
                "follow" => format!(
                    "follow goes to {host} over http://, where the client's secret can be read and revocations can be left \
                     out on the way; use https://"
                ),
                _ => format!(
                    "jwks_url goes to {host} over http://, where the keys can be replaced on the way; use https://"
                ),
            });
        }
    }
    found.extend(readable_files(settings));
    found
}

/// The host of a URL that is not encrypted, if it is another machine.
fn plain_host(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http"))?;
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || address.parse::<IpNet>().is_ok_and(|net| net.addr().is_loopback());
    let is_here =
        is_here || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    (!is_here).then(|| host.to_owned())
}

#[cfg(not(unix))]
fn readable_files(_: &Settings) -> Vec<String> {
    Vec::new()
}

#[cfg(unix)]
fn readable_files(settings: &Settings) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;

    /// What users may who are neither the owner nor of its group.
    fn others_may(path: &Path, what: u32) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & what != 0)
    }
    const READ_OR_WRITE: u32 = 0o006;
    const PASS: u32 = 0o001;

    let mut found = Vec::new();
    let of_issuers = settings.trusted_issuer.iter().filter_map(|issuer| issuer.secret_file.as_ref());
    let secrets = of_issuers.map(|file| ("secret_file", file));
    for (setting, file) in secrets.chain(settings.follow_secret_file.iter().map(|file| ("follow_secret_file", file))) {
        if others_may(file, READ_OR_WRITE) {
            found.push(format!(
                "{setting} {} can be read or written by every user of this machine; run chmod o-rwx on it",
                file.display()
            ));
        }
    }
    let Some(store) = store_file(settings) else { return found };
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if others_may(folder, READ_OR_WRITE) {
        found.push(format!(
            "the folder {} can be read or written by every user of this machine; run chmod o-rwx on it",
            folder.display()
        ));
    }
    let is_passable = others_may(folder, PASS);
    for file in files_of(folder, &store) {
        if file.is_symlink() {
            found.push(format!(
                "{} is a symbolic link; whoever can change what it leads to can change the store",
                file.display()
            ));
        }
        if is_passable && others_may(&file, READ_OR_WRITE) {
            found.push(format!(
                "{} can be read or written by every user of this machine; run chmod o-rwx on it",
                file.display()
            ));
        }
    }
    found
}

/// What belongs to the store: in the data folder everything, and elsewhere the files that SQLite names after it.
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
    fn what_every_user_of_the_machine_can_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (data, secret) = (folder.path().join("data"), folder.path().join("secret"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("adieu.sqlite"), "").unwrap();
        fs::write(&secret, "x").unwrap();
        let issuer = format!("[{{ name = 'shop', secret_file = '{}' }}]", secret.display());
        let variables = [("trusted_issuer", issuer.as_str()), ("follow_secret_file", secret.to_str().unwrap())];
        let settings = settings(&data, &variables);
        let names = |modes: [u32; 3]| {
            let [of_folder, of_store, of_secret] = modes;
            chmod(&data, of_folder);
            chmod(&data.join("adieu.sqlite"), of_store);
            chmod(&secret, of_secret);
            let found = exposures(&settings);
            let told = ["secret_file", "follow_secret_file", "the folder", "adieu.sqlite"];
            told.map(|what| usize::from(found.iter().any(|line| line.contains(what)))).to_vec()
        };
        assert_eq!(names([0o700, 0o600, 0o600]), [0, 0, 0, 0]);
        assert_eq!(names([0o700, 0o644, 0o600]), [0, 0, 0, 0], "nobody gets to it");
        assert_eq!(names([0o750, 0o640, 0o640]), [0, 0, 0, 0], "a group is made on purpose");
        assert_eq!(names([0o711, 0o644, 0o600]), [0, 0, 0, 1]);
        assert_eq!(names([0o755, 0o600, 0o600]), [0, 0, 1, 0]);
        assert_eq!(names([0o700, 0o600, 0o644]), [1, 1, 0, 0]);
        assert_eq!(names([0o700, 0o600, 0o602]), [1, 1, 0, 0]);
    }

    #[test]
    fn a_symbolic_link_in_the_data_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("elsewhere"), "").unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        chmod(&data, 0o700);
        assert_eq!(exposures(&settings(&data, &[])), Vec::<String>::new());
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), data.join("high-water")).unwrap();
        let found = exposures(&settings(&data, &[]));
        assert!(matches!(&found[..], [told] if told.contains("high-water is a symbolic link")), "{found:?}");
    }
}
