//! Wrong usage, settings that can't be used, and stores that do not exist.

use crate::support::Place;

#[test]
fn wrong_usage_has_status_2() {
    let place = Place::empty();
    for arguments in [
        &["usr"][..],
        &["user"],
        &["user", "add"],
        &["user", "disable"],
        &["user", "import"],
        &["session", "end"],
        &["session", "end", "x", "--user", "jose"],
        &["token"],
        &["token", "revoke", "x", "--id", "y"],
        &["revoke"],
        &["revoke", "--yes"],
        &["revoke", "--everything", "--subject", "x"],
        &["revoke", "--subject", ""],
        &["key"],
        &["key", "remove"],
        &["client"],
        &["completions"],
        &["stream"],
        &["stream", "status"],
        &["stream", "delete", "--issuer", "https://login.example"],
    ] {
        let done = place.run(arguments);
        assert_eq!((done.status, done.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(
            done.stderr.contains("Usage: adieu") || done.stderr.contains("--help"),
            "{arguments:?}: {}",
            done.stderr
        );
    }
    assert!(!place.path("data").exists());
}

#[test]
fn a_mistyped_folder_is_an_error_and_does_not_become_a_store() {
    let place = Place::empty();
    for arguments in [
        &["user", "list"][..],
        &["user", "disable", "jose"],
        &["user", "enable", "jose"],
        &["user", "delete", "jose", "--yes"],
        &["user", "passwd", "jose", "--password-stdin"],
        &["session", "list"],
        &["session", "end", "x"],
        &["token", "inspect", "x"],
        &["token", "revoke", "x"],
        &["token", "revoke", "--id", "x"],
        &["revoke", "--everything", "--yes"],
        &["key", "list"],
        &["key", "rotate"],
        &["key", "remove", "x"],
        &["client", "list"],
        &["client", "remove", "x"],
        &["client", "add", "x", "--capabilities", "follow"],
        &["user", "import", "/dev/null"],
    ] {
        let arguments = [arguments, &["--data", "./typo"]].concat();
        let message = place.run(&arguments).failed();
        let or = if matches!(arguments[1], "add" | "import") { ", and so does --create" } else { "" };
        assert_eq!(message, format!("no store in ./typo; `adieu serve` makes one{or}"), "{arguments:?}");
        assert!(!place.path("typo").exists(), "{arguments:?}");
    }
    let message = place.run(&["user", "import", "missing.csv", "--data", "./typo"]).failed();
    assert!(message.starts_with("cannot open missing.csv: "), "{message}");
    assert!(!place.path("typo").exists());
}

#[test]
fn the_store_is_found_as_the_server_finds_it() {
    let place = Place::with_user("jose");
    place.write("adieu.toml", "data = 'elsewhere'");
    let listed = |arguments: &[&str], variable: &str| {
        let mut command = place.command(&[&["user", "list", "--json"], arguments].concat());
        command.env_remove("ADIEU_DATA");
        if !variable.is_empty() {
            command.env("ADIEU_DATA", variable);
        }
        crate::support::Done::from(command.output().unwrap())
    };
    assert_eq!(listed(&["--data", "data", "--config", "adieu.toml"], "nowhere").succeeded().objects().len(), 1);
    assert_eq!(listed(&[], "data").succeeded().objects().len(), 1);
    assert_eq!(listed(&["--config", "adieu.toml"], "").failed(), "no store in elsewhere; `adieu serve` makes one");
    assert_eq!(listed(&[], "").failed(), "no store in ./adieu-data; `adieu serve` makes one");
}

#[test]
fn a_setting_that_can_not_be_used_stops_every_command() {
    let place = Place::with_user("jose");
    place.write("adieu.toml", "leeway = '2m'");
    let message = place.run(&["user", "list", "--config", "adieu.toml"]).failed();
    assert_eq!(message, "leeway in adieu.toml: 2m is out of range; it must be between 0s and 1m");
}

#[test]
fn a_file_that_is_no_store_is_left_as_it_is() {
    let place = Place::empty();
    std::fs::create_dir(place.path("data")).unwrap();
    place.write("data/adieu.sqlite", "my only copy");
    for arguments in [&["user", "list"][..], &["user", "add", "jose", "--password-stdin"]] {
        let message = place.run_with(arguments, b"1234").failed();
        assert!(message.contains("is not an SQLite database"), "{message}");
    }
    assert_eq!(std::fs::read_to_string(place.path("data/adieu.sqlite")).unwrap(), "my only copy");
}

#[test]
fn the_settings_in_effect_are_a_file_that_says_where_they_come_from() {
    let place = Place::empty();
    place.write("adieu.toml", "leeway = '5s'\ntrusted_proxies = ['10.0.0.0/8']\ndata = 'unused'");
    let printed = place.run(&["config", "--effective", "--config", "adieu.toml", "--listen", "[::1]:9000"]).succeeded();
    let line = |key: &str| printed.stdout.lines().find(|line| line.contains(key)).unwrap();
    assert_eq!(line("listen"), r#"listen = "[::1]:9000" # from the command line (--listen)"#);
    assert_eq!(line("data"), r#"data = "data" # from the environment (ADIEU_DATA)"#);
    assert_eq!(line("leeway"), r#"leeway = "5s" # in adieu.toml"#);
    assert_eq!(line("max_body_bytes"), r#"max_body_bytes = "65536" # by default"#);
    assert_eq!(line("audience"), "# audience is not set");

    place.write("again.toml", &printed.stdout);
    let again = place.run(&["config", "--effective", "--config", "again.toml"]).succeeded();
    assert!(again.stdout.contains(r#"trusted_proxies = ["10.0.0.0/8"] # in again.toml"#), "{}", again.stdout);
    let message = place.run(&["config", "--effective", "--data", "x", "--config", "nowhere"]).failed();
    assert!(message.starts_with("the settings in nowhere can't be read: "), "{message}");
}

/// The system reports it by a signal that would end the command without a message.
#[cfg(unix)]
#[test]
fn a_limit_on_file_sizes_is_one_line_and_no_signal() {
    let place = Place::empty();
    let added = place.run_under("ulimit -f 0", &["user", "add", "jose", "--password-stdin"], b"1234\n").failed();
    assert!(added.starts_with("cannot open "), "{added}");

    place.add("jose");
    let added = place.run_under("ulimit -f 0", &["user", "add", "anna", "--password-stdin"], b"1234\n").failed();
    assert!(!added.is_empty());
    assert_eq!(place.run(&["user", "list", "--json"]).succeeded().objects().len(), 1);
}

/// The password is neither in a list of processes nor in an error message.
#[test]
fn a_password_is_no_argument_and_in_no_error() {
    let place = Place::with_user("jose");
    let into_postgres = ["store", "copy", "--from", "sqlite:data/adieu.sqlite", "--to"];
    for url in ["postgres://ana:s3cret@127.0.0.1:1/x", "postgres://ana@127.0.0.1:1/x?password=s3cret"] {
        let refused = place.run(&[&into_postgres[..], &[url]].concat()).failed();
        assert!(refused.starts_with("a password may not be an argument, which other users"), "{refused}");
        // From a file it is accepted, and never printed: there is no server.
        place.write("address", format!("\u{feff}{url}\n"));
        let arguments = ["store", "copy", "--from", "sqlite:data/adieu.sqlite", "--to-file", "address"];
        let failed = place.run(&arguments).failed();
        assert!(failed.contains("cannot open postgres://ana") && !failed.contains("s3cret"), "{failed}");
    }
    let url = "https://ana:s3cret@login.example/keys";
    for arguments in [
        &["store", "copy", "--from", "postgresq://ana:s3cret@db/x", "--to", "sqlite:x"][..],
        &["store", "copy", "postgres://ana:s3cret@db/x"],
        &["--listen", url],
        &["postgres://ana:s3cret@db/x"],
    ] {
        let done = place.run(arguments);
        assert!(done.status != 0 && !done.stderr.contains("s3cret"), "{arguments:?}: {}", done.stderr);
    }
    place.write("adieu.toml", format!("[[trusted_issuer]]\nname = 'shop'\njwks_url = '{url}'\n"));
    let shown = place.run(&["config", "--effective", "--config", "adieu.toml"]).succeeded().stdout;
    assert!(shown.contains("https://ana:***@login.example/keys") && !shown.contains("s3cret"), "{shown}");
    let mut command = place.command(&["config", "--effective"]);
    command.env("ADIEU_TRUSTED_ISSUER", format!("[{{ name = 'shop', jwks_url = '{url}' }}]"));
    let shown = Place::finish(command, b"").succeeded().stdout;
    assert!(shown.contains("login.example") && !shown.contains("s3cret"), "{shown}");
    place.write("adieu.toml", "[[webhook]]\nname = 'chat'\nurl = 'https://chat.example:444/s3cret'\nsecret_file = 'x'");
    let shown = place.run(&["config", "--effective", "--config", "adieu.toml"]).succeeded().stdout;
    assert!(shown.contains("https://chat.example:444/…") && !shown.contains("s3cret"), "{shown}");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("ADIEU_TRUSTED_ISSUER", "[{ name = 'shop', jwks_url = 'https://ana:s3cret@[::1' }]");
    let failed = Place::finish(command, b"").failed();
    assert!(failed.contains("jwks_url") && !failed.contains("s3cret"), "{failed}");
}

#[test]
fn a_name_or_an_id_may_begin_with_a_hyphen() {
    let place = Place::with_user("-x");
    let config = "[[trusted_issuer]]\nname = '-shop'\nsecret_file = 'secret'\naudience = 'api'";
    place.write("adieu.toml", config);
    place.write("secret", "a secret of at least 256 bits......");
    for arguments in [
        &["user", "disable", "-x"][..],
        &["user", "enable", "-x"],
        &["user", "list", "--name", "-x"],
        &["session", "list", "--user", "-x"],
        &["session", "end", "--user", "-x"],
        &["revoke", "--user", "-x", "--yes"],
        &["revoke", "--subject", "-abc", "--yes"],
        &["revoke", "--subject", "-abc", "--issuer", "-shop", "--yes"],
        &["token", "revoke", "--id", "-abc"],
        &["client", "add", "-gate", "--capabilities", "follow"],
        &["client", "change", "-gate", "--capabilities", "revoke"],
        &["client", "rotate-secret", "-gate"],
        &["client", "remove", "-gate"],
        &["alias", "add", "--issuer", "-shop", "--subject", "-abc", "account", "acct:a@shop.example"],
        &["alias", "list", "--issuer", "-shop", "--subject", "-abc"],
        &["alias", "remove", "--issuer", "-shop", "--subject", "-abc"],
    ] {
        place.run(&[arguments, &["--config", "adieu.toml"]].concat()).succeeded();
    }
    // There is none, which is another failure than a wrong usage.
    for arguments in [
        &["session", "end", "-abc"][..],
        &["user", "revoke-invite", "-abc"],
        &["delivery", "replay", "-abc"],
        &["delivery", "skip", "-abc", "-def"],
        &["revoke", "--claim", "-tenant=acme", "--yes"],
        &["stream", "delete", "--issuer", "-shop", "--stream", "-abc"],
    ] {
        place.run(&[arguments, &["--config", "adieu.toml"]].concat()).failed();
    }
    // An option that exists is none the less an option.
    place.run(&["user", "disable", "--json", "-x"]).succeeded().object();
}
