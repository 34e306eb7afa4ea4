//! As much of PEM (RFC 7468) and DER as it takes to hand a key to aws-lc and to get a public key's numbers back.

use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::token::{KeyError, base64url};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The contents of the only PEM block of a text.
///
/// # Errors
/// When there is no such block, another one, or it is not base64.
pub(super) fn from_pem(text: &str, expected_label: &'static str) -> Result<SecretSlice<u8>, KeyError> {
    let malformed = || KeyError::NotPem { expected: expected_label };

    let (label, rest) =
        text.trim().strip_prefix("-----BEGIN ").and_then(|rest| rest.split_once("-----")).ok_or_else(malformed)?;
    if label != expected_label {
        return Err(KeyError::WrongPemLabel { expected: expected_label });
    }
    let body = rest.strip_suffix("-----").and_then(|rest| rest.strip_suffix(label)).ok_or_else(malformed)?;
    let body = body.strip_suffix("-----END ").ok_or_else(malformed)?;

    // The same six bits with two other characters and with padding; a secret all the same while it is being rewritten.
    let url_safe = SecretString::from(
        body.chars()
            .filter(|character| !character.is_ascii_whitespace())
            .map(|character| match character {
                '+' => '-',
                '/' => '_',
                '-' | '_' => '?',
                other => other,
            })
            .collect::<String>(),
    );
    let unpadded = url_safe.expose_secret();
    let unpadded = unpadded.strip_suffix("==").or_else(|| unpadded.strip_suffix('=')).unwrap_or(unpadded);
    base64url::decode(unpadded).map(SecretSlice::from).map_err(|_| malformed())
}

/// The modulus and the exponent, without leading zeros, in a `SubjectPublicKeyInfo` of RSA (RFC 8017 A.1.1).
pub(super) fn rsa_numbers(public_key_info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, []) = element(public_key_info, SEQUENCE)? else { return None };
    let (_, info) = element(info, SEQUENCE)?;
    let (bits, []) = element(info, BIT_STRING)? else { return None };
    let (key, []) = element(bits.strip_prefix(&[0])?, SEQUENCE)? else { return None };
    let (modulus, key) = element(key, INTEGER)?;
    let (exponent, []) = element(key, INTEGER)? else { return None };
    Some((without_leading_zeros(modulus), without_leading_zeros(exponent)))
}

pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The contents of the first element and what comes after it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let input = input.strip_prefix(&[tag])?;
    let (&first, input) = input.split_first()?;
    let (length, input) = match first {
        short @ 0..=0x7F => (usize::from(short), input),
        0x81 => input.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            input.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?
        }
        _ => return None,
    };
    input.split_at_checked(length)
}
