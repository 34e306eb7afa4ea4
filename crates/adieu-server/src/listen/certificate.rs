//! Reads from an X.509 certificate until when it is valid (RFC 5280 §4.1, DER).

use adieu::time::Timestamp;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, the version.
const VERSION: u8 = 0xA0;

/// Returns the end of the validity of a certificate; `None` if it is not a certificate.
pub(super) fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = content_of(&mut { der }, SEQUENCE)?;
    let fields = &mut content_of(&mut { certificate }, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        content_of(fields, VERSION)?;
    }
    for serial_number_algorithm_issuer in [INTEGER, SEQUENCE, SEQUENCE] {
        content_of(fields, serial_number_algorithm_issuer)?;
    }
    let validity = &mut content_of(fields, SEQUENCE)?;
    let _not_before = element(validity)?;
    match element(validity)? {
        // Years from 1950 to 2049.
        (UTC_TIME, text) => time(if text.first()? < &b'5' { b"20" } else { b"19" }, text),
        (GENERALIZED_TIME, text) => time(b"", text),
        _ => None,
    }
}

/// Reads the next element, which must have this tag, and returns its content.
fn content_of<'der>(der: &mut &'der [u8], tag: u8) -> Option<&'der [u8]> {
    element(der).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Reads the next element: its tag and content.
fn element<'der>(der: &mut &'der [u8]) -> Option<(u8, &'der [u8])> {
    let (&[tag, length], mut rest) = der.split_first_chunk()?;
    let length = match length {
        ..=0x7F => usize::from(length),
        // At most three bytes follow: 16 MiB.
        0x81..=0x83 => {
            let (bytes, after) = rest.split_at_checked(usize::from(length - 0x80))?;
            rest = after;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *der = after;
    Some((tag, content))
}

/// Reads `YYYYMMDDHHMMSSZ`, whose first digits are `century`.
fn time(century: &[u8], text: &[u8]) -> Option<Timestamp> {
    let digits = [century, text.strip_suffix(b"Z")?].concat();
    if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> { str::from_utf8(digits.get(from..to)?).ok()?.parse().ok() };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    // Years that begin in March, so that the leap day comes last (Howard Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms", days_from_civil).
    let is_valid = (1970..).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    let days = days.checked_sub(719_468)?;
    is_valid.then(|| Timestamp::from_unix(((days * 24 + hour) * 60 + minute) * 60 + second))
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

    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, expected) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("21000301000000Z", Some(4_107_542_400)),
            ("99991231235959Z", Some(253_402_300_799)),
            ("19691231235959Z", None),
            ("00000101000000Z", None),
            ("20241301000000Z", None),
            ("20240100000000Z", None),
            ("20240101000000", None),
            ("202401010000Z", None),
            ("2024010100000+Z", None),
        ] {
            assert_eq!(time(b"", text.as_bytes()), expected.map(Timestamp::from_unix), "{text}");
        }
    }
}
