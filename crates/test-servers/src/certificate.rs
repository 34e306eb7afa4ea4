//! Certificates of servers.

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
