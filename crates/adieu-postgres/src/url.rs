//! Parses the URL of a database strictly: sqlx would log the value of an unknown parameter, and connect without
//! encryption to a server that offers none.

use std::{collections::HashSet, net::IpAddr, str::FromStr as _};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use adieu::Error;

/// The accepted parameters of libpq, with libpq's meaning, beside `options[…]`.
const PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// The accepted values of `sslmode`, without `allow`, which sqlx treats as `disable`.
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
/// The values of `target_session_attrs` that accept a primary, which every node needs.
const PRIMARY: [&str; 3] = ["any", "primary", "read-write"];

/// Parses a URL. Errors contain no part of it: an invalid URL may have a password anywhere.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, Error> {
    let wrong =
        || Error::setting("url", "not the URL of a PostgreSQL database: postgres://USER:PASSWORD@HOST:PORT/DATABASE");
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") || url.contains('#') {
        return Err(wrong());
    }
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let mut passed_on = form_urlencoded::Serializer::for_suffix(format!("{place}?"), place.len() + 1);
    let (mut names, mut ssl_mode, mut has_root) = (HashSet::new(), None, std::env::var_os("PGSSLROOTCERT").is_some());
    for (number, (name, value)) in (1_usize..).zip(form_urlencoded::parse(query.as_bytes())) {
        if !(PARAMETERS.contains(&&*name) || name.starts_with("options[") && name.ends_with(']')) {
            return Err(Error::setting(
                "url",
                format!(
                    "parameter {number} of the PostgreSQL URL is not supported; supported are {}",
                    PARAMETERS.join(", ")
                ),
            ));
        }
        match &*name {
            "sslmode" if SSL_MODES.contains(&&*value) => ssl_mode = PgSslMode::from_str(&value).ok(),
            "sslmode" => return Err(one_of("sslmode", &SSL_MODES)),
            "target_session_attrs" if PRIMARY.contains(&&*value) => {}
            "target_session_attrs" => return Err(one_of("target_session_attrs", &PRIMARY)),
            _ => {
                has_root |= name == "sslrootcert";
                passed_on.append_pair(&name, &value);
            }
        }
        if !names.insert(name.clone()) {
            return Err(Error::setting("url", format!("`{name}` is given twice in the PostgreSQL URL")));
        }
    }
    let options: PgConnectOptions = passed_on.finish().parse().map_err(|_| wrong())?;
    if options.get_host().contains(',') {
        return Err(Error::setting("url", "the PostgreSQL URL names several hosts, and it must name one"));
    }
    let ssl_mode = match ssl_mode {
        None if is_on_this_machine(&options) => PgSslMode::Prefer,
        None => PgSslMode::VerifyFull,
        // As libpq does: naming a certificate authority asks for verification.
        Some(PgSslMode::Require) if has_root => PgSslMode::VerifyCa,
        Some(ssl_mode) => ssl_mode,
    };
    Ok(options.ssl_mode(ssl_mode))
}

fn one_of(name: &str, values: &[&str]) -> Error {
    Error::setting("url", format!("`{name}` in the PostgreSQL URL must be one of {}", values.join(", ")))
}

/// Returns whether the connection certainly stays on this machine.
fn is_on_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        match parse(url) {
            Err(Error::InvalidSetting(error)) => error.to_string(),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn only_what_stays_on_this_machine_goes_without_a_verified_certificate() {
        for (url, mode) in [
            ("postgres://a@db.example/b", "VerifyFull"),
            ("postgres://a@10.0.0.1/b", "VerifyFull"),
            ("postgres://a@localhost.example/b", "VerifyFull"),
            ("postgres://a@0.0.0.0/b", "VerifyFull"),
            ("postgres://a@[2001:db8::1]/b", "VerifyFull"),
            ("postgres://a@localhost/b?host=db.example", "VerifyFull"),
            ("postgres://a@localhost/b", "Prefer"),
            ("postgres://a@127.0.0.1:5433/b", "Prefer"),
            ("postgres://a@[::1]/b", "Prefer"),
            ("postgres://a@%2Frun%2Fpostgresql/b", "Prefer"),
            ("postgres://a@db.example/b?host=/run/postgresql", "Prefer"),
            ("postgres://a@localhost/b?sslmode=verify-full", "VerifyFull"),
            ("postgres://a@db.example/b?sslmode=disable", "Disable"),
            ("postgres://a@db.example/b?sslmode=prefer", "Prefer"),
            ("postgres://a@db.example/b?sslmode=require", "Require"),
            ("postgres://a@db.example/b?sslmode=require&sslrootcert=/ca.pem", "VerifyCa"),
            ("postgresql://a@db.example/b?sslmode=verify-ca", "VerifyCa"),
        ] {
            assert_eq!(format!("{:?}", parse(url).unwrap().get_ssl_mode()), mode, "{url}");
        }
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused_and_not_shown() {
        for parameters in [
            "sslpassword=s3cret",
            "sslmode=s3cret",
            "sslmode=allow",
            "s3cret",
            "password=a&password=s3cret",
            "connect_timeout=3",
            "statement-cache-capacity=0",
            "target_session_attrs=standby",
            "target_session_attrs=s3cret",
            "sslmode=disable&sslmode=verify-full",
            "application_name=a&s3cret@host/b",
        ] {
            let sentence = refusal(&format!("postgres://ana@db.example/adieu?{parameters}"));
            assert!(!sentence.contains("s3cret"), "{sentence}");
        }
        for url in
            ["postgres://a:s3cret#b@host/c", "postgres://one,two/c", "mysql://s3cret@host/c", "postgres://a@b:s3cret/c"]
        {
            assert!(!refusal(url).contains("s3cret"));
        }
    }

    #[test]
    fn what_is_known_has_the_effect_that_it_has_in_libpq() {
        let options = parse(
            "postgres://a@b/c?user=ana&host=db.example&port=6543&dbname=adieu&application_name=x+y&target_session_attrs=read-write\
             &options[geqo]=off&options=-c%20jit%3Doff",
        )
        .unwrap();
        assert_eq!(
            (options.get_username(), options.get_host(), options.get_port(), options.get_database()),
            ("ana", "db.example", 6543, Some("adieu"))
        );
        assert_eq!(options.get_application_name(), Some("x y"));
        assert_eq!(options.get_options(), Some("-c geqo=off -c jit=off"));
    }
}
