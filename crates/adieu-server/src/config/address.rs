//! Addresses of stores, which may hold passwords and are therefore never shown in full.

use std::{fmt, path::PathBuf, str::FromStr};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::value::Value;

/// A URL that may have a password, which `Debug` and `Display` leave out.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Returns the whole URL, for connecting.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_password(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

/// Returns the URL without the credentials that follow the user's name, and without parameters, since one of them may
/// be a password.
fn without_password(url: &str) -> String {
    let (url, parameters) = split(url);
    let mut shown = match (url.split_once("://"), url.rfind('@')) {
        (Some((scheme, rest)), at) if at.is_some() || has_at(parameters) => {
            let (credentials, host) = match at {
                Some(at) if !has_at(parameters) => {
                    let start = scheme.len() + "://".len();
                    (url.get(start..at).unwrap_or_default(), url.get(at..).unwrap_or_default())
                }
                _ => (rest, ""),
            };
            let (user, password) = match credentials.split_once(':') {
                Some((user, _)) => (user, ":***"),
                // In the URL of a website, the user's name may be a token.
                None if scheme.starts_with("http") => ("***", ""),
                None => (credentials, ""),
            };
            format!("{scheme}://{user}{password}{host}")
        }
        _ => url.to_owned(),
    };
    if parameters.is_some() {
        shown.push_str("?…");
    }
    shown
}

/// Splits a URL before its parameters.
fn split(url: &str) -> (&str, Option<&str>) {
    url.split_once('?').map_or((url, None), |(before, parameters)| (before, Some(parameters)))
}

/// Returns whether what comes after a `?` has an `@`. The `?` may then be in the password, which should have it as `%3F`.
fn has_at(parameters: Option<&str>) -> bool {
    parameters.is_some_and(|parameters| parameters.contains('@'))
}

/// Returns whether a URL has a password, in its credentials or as a parameter.
pub(super) fn has_password(url: &str) -> bool {
    let (url, parameters) = split(url);
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let credentials = match rest.and_then(|rest| rest.rsplit_once('@')) {
        Some((credentials, _)) => Some(credentials),
        None => rest.filter(|_| has_at(parameters)),
    };
    let in_user = credentials.and_then(|credentials| credentials.split_once(':'));
    in_user.is_some_and(|(_, password)| !password.is_empty() || has_at(parameters))
        || parameters.is_some_and(|parameters| parameters.to_ascii_lowercase().contains("password="))
}

/// Returns the text with every URL in it redacted.
#[must_use]
pub fn redacted(text: &str) -> String {
    let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let (other, scheme) = before.split_at(before.trim_end_matches(is_scheme).len());
        // A password has no white space.
        let (address, later) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        shown.push_str(other);
        shown.push_str(&without_password(&format!("{scheme}://{address}")));
        rest = later;
    }
    shown.push_str(rest);
    shown
}

/// The store of all data that has no other place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server.
    Postgres(Address),
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite:{}", path.display()),
            Self::Postgres(address) => address.fmt(formatter),
        }
    }
}

impl StoreAddress {
    /// Returns whether the address has a password, in its credentials or as a parameter.
    #[must_use]
    pub fn has_password(&self) -> bool {
        let Self::Postgres(Address(url)) = self else { return false };
        has_password(url)
    }
}

impl StoreAddress {
    /// Returns the address with this password.
    ///
    /// # Errors
    /// Fails if the address names no user, or is a file.
    pub fn with_password(self, password: &str) -> Result<Self, &'static str> {
        let Self::Postgres(Address(url)) = &self else { return Err("a file has no password") };
        let (before, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
        let (scheme, rest) = before.split_once("://").ok_or("the address has no scheme")?;
        let (user, host) = rest.rsplit_once('@').ok_or("the address names no user whose password it could be")?;
        let (user, password) = (user.trim_end_matches(':'), utf8_percent_encode(password, NON_ALPHANUMERIC));
        Ok(Self::Postgres(Address(format!("{scheme}://{user}:{password}@{host}{parameters}"))))
    }
}

impl FromStr for StoreAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or("expected sqlite:PATH or postgres://USER@HOST/DATABASE")
    }
}

impl Value for StoreAddress {
    const WANTED: &'static str = r#""sqlite:…" with a path, or "postgres://…" with a user, a host and a database"#;
    const HOLDS_A_SECRET: bool = true;

    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix("sqlite:") {
            Some(path) => PathBuf::read(path).map(Self::Sqlite),
            None => url_of(text, &["postgres://", "postgresql://"]).map(Self::Postgres),
        }
    }
}

/// The store of sessions, keys and revocations, if it is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress(pub Address);

impl fmt::Display for RedisAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Value for RedisAddress {
    const WANTED: &'static str = r#""redis://…" or "rediss://…" with a host"#;
    const HOLDS_A_SECRET: bool = true;

    fn read(text: &str) -> Option<Self> {
        url_of(text, &["redis://", "rediss://"]).map(Self)
    }
}

fn url_of(text: &str, schemes: &[&str]) -> Option<Address> {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme))?;
    let is_fit = !rest.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    is_fit.then(|| Address(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://ana:s3cret@db.example/adieu", "postgres://ana:***@db.example/adieu"),
            ("postgres://ana:s3@cret@db/adieu", "postgres://ana:***@db/adieu"),
            ("postgres://ana:s3/c#ret@db/adieu", "postgres://ana:***@db/adieu"),
            ("postgres://ana:s3c?ret@db/adieu", "postgres://ana:***?…"),
            ("postgres://ana:s3@c?ret@db/adieu?a=b", "postgres://ana:***?…"),
            ("postgres://ana:s3cret@db/adieu?options=a@b", "postgres://ana:***?…"),
            ("postgres://db/adieu?user=ana&password=s@cret", "postgres://db/adieu?…"),
            ("redis://:s3c?ret@localhost", "redis://:***?…"),
            ("https://s3c?ret@login.example/keys", "https://***?…"),
            ("postgres://ana@db/adieu?password=s3cret&sslmode=require", "postgres://ana@db/adieu?…"),
            ("redis://:s3cret@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
            ("redis://localhost", "redis://localhost"),
            ("https://s3cret@login.example/keys", "https://***@login.example/keys"),
            ("https://ana:s3cret@login.example/keys", "https://ana:***@login.example/keys"),
            ("sqlite:/var/lib/adieu.sqlite", "sqlite:/var/lib/adieu.sqlite"),
        ] {
            assert_eq!(without_password(url), shown);
            assert_eq!(redacted(url), shown);
            assert_eq!(
                redacted(&format!("cannot open '{url} ' (in {url} )")),
                format!("cannot open '{shown} ' (in {shown} )")
            );
        }
        assert_eq!(redacted("nothing: // at all @ here"), "nothing: // at all @ here");
    }

    #[test]
    fn a_password_that_was_typed_is_taken_as_it_is() {
        for (address, expected) in [
            ("postgres://ana@db:5432/adieu", Some("postgres://ana:s3%40cr%3Ae%2F%25t@db:5432/adieu")),
            (
                "postgres://ana:@db/adieu?sslmode=require",
                Some("postgres://ana:s3%40cr%3Ae%2F%25t@db/adieu?sslmode=require"),
            ),
            ("postgres://db/adieu", None),
            ("sqlite:/a@b", None),
        ] {
            let with_password =
                StoreAddress::read(address).and_then(|address| address.with_password("s3@cr:e/%t").ok());
            let exposed = with_password.map(|address| match address {
                StoreAddress::Postgres(url) => url.expose().to_owned(),
                StoreAddress::Sqlite(path) => path.display().to_string(),
            });
            assert_eq!(exposed.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn an_address_knows_whether_it_has_a_password() {
        for (address, has_password) in [
            ("postgres://ana:s3cret@db/adieu", true),
            ("postgres://ana@db/adieu?password=s3cret", true),
            ("postgres://ana@db/adieu?sslmode=require&sslpassword=s3cret", true),
            ("postgres://ana:s3c?ret@db/adieu", true),
            ("postgres://ana:?s3cret@db/adieu", true),
            ("postgres://ana@db/adieu", false),
            ("postgres://ana:@db:5432/adieu", false),
            ("postgres://db:5432/adieu", false),
            ("sqlite:/a:b@c", false),
        ] {
            assert_eq!(
                StoreAddress::read(address).is_some_and(|address| address.has_password()),
                has_password,
                "{address}"
            );
        }
    }
}
