//! Reads from an X.509 certificate until when it is valid (RFC 5280 §4.1.2.5).

use adieu::time::Timestamp;
use x509_cert::{Certificate, der::Decode as _};

/// Returns the end of the validity of a certificate in DER; `None` if it is not a certificate.
pub(super) fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Timestamp::from_unix(end.as_secs()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::{path::Path, process::Command};

    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;

    /// Makes a certificate; returns it, and until when `openssl` says that it is valid.
    fn certificate(folder: &Path, days: &str) -> (Vec<u8>, u64) {
        let script = "openssl req -x509 -newkey rsa:2048 -nodes -subj /O=adieu/CN=adieu.test -days \"$0\" -keyout key.pem \
                      -out made.pem 2> /dev/null && date -d \"$(openssl x509 -in made.pem -enddate -noout | cut -d= -f2)\" +%s";
        let made = Command::new("sh").args(["-c", script, days]).current_dir(folder).output().unwrap();
        let seconds = String::from_utf8(made.stdout).unwrap();
        let der = CertificateDer::from_pem_file(folder.join("made.pem")).unwrap().to_vec();
        (der, seconds.trim().parse().unwrap())
    }

    #[test]
    fn the_end_of_the_validity_is_that_of_openssl() {
        let folder = tempfile::tempdir().unwrap();
        // In short and in long form: from 2050 on, the year has four digits.
        for days in ["1", "400", "5000", "10000", "36500"] {
            let (der, seconds) = certificate(folder.path(), days);
            assert_eq!(valid_until(&der), Some(Timestamp::from_unix(seconds)), "{days} days");
            for length in 0..der.len() {
                assert_eq!(valid_until(&der[..length]), None, "the first {length} bytes");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let (der, _) = certificate(folder.path(), "2");
        for position in 0..200 {
            for byte in 0..=255 {
                let mut changed = der.clone();
                changed[position] = byte;
                let _found = valid_until(&changed);
            }
        }
    }
}
