//! Certificates of servers and of clients.

use std::{path::Path, process::Command};

use crate::folder::run;

/// Makes a self-signed certificate for a server at this IP address, as `certificate.pem`, and its key, as `key.pem`.
///
/// # Panics
/// If `openssl` is not installed: run `scripts/test`, or `apt-get install openssl`.
pub fn make_certificate(folder: &Path, address: &str) {
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=adieu.test", "-addext", &format!("subjectAltName=IP:{address}")])
        // A CA certificate is rejected as a server's.
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder));
}

/// Makes an authority that issues certificates to clients: its certificate, `NAME.pem`, and its key, `NAME-key.pem`.
///
/// # Panics
/// As [`make_certificate`].
pub fn make_authority(folder: &Path, name: &str) {
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "basicConstraints=critical,CA:TRUE"])
        .args(["-keyout", &format!("{name}-key.pem"), "-out", &format!("{name}.pem")])
        .current_dir(folder));
}

/// When the validity of a certificate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// In two days.
    Current,
    /// Years ago.
    Expired,
}

/// Makes a certificate of a client, `NAME.pem`, and its key, `NAME-key.pem`, issued by an authority of [`make_authority`].
///
/// # Panics
/// As [`make_certificate`].
pub fn make_client_certificate(folder: &Path, authority: &str, name: &str, validity: Validity) {
    let dates = match validity {
        Validity::Current => "-days 2",
        Validity::Expired => "-startdate 20200101000000Z -enddate 20200201000000Z",
    };
    // Only `openssl ca` sets a date in the past.
    let script = format!(
        "set -e
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \\
             -keyout {name}-key.pem -out {name}.csr
         : > {name}.index
         printf '%s\\n' '[ca]' default_ca=own '[own]' database={name}.index new_certs_dir=. policy=any \\
             default_md=sha256 rand_serial=yes '[any]' commonName=supplied '[client]' \\
             basicConstraints=critical,CA:FALSE extendedKeyUsage=clientAuth > {name}.conf
         openssl ca -batch -notext -config {name}.conf -extensions client -cert {authority}.pem \\
             -keyfile {authority}-key.pem -in {name}.csr -out {name}.pem {dates}"
    );
    run(Command::new("sh").args(["-c", &script]).current_dir(folder));
}
