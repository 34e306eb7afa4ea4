//! The texts of which hashes are made: numbers, Base64 and hexadecimal.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD, general_purpose::STANDARD, general_purpose::STANDARD_NO_PAD},
};

use super::HashError;

/// passlib's alphabet, with "." where the standard alphabet has "+".
const PASSLIB: GeneralPurpose = GeneralPurpose::new(&PASSLIB_ALPHABET, NO_PAD);
const PASSLIB_ALPHABET: alphabet::Alphabet =
    match alphabet::Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./") {
        Ok(alphabet) => alphabet,
        Err(_) => alphabet::STANDARD,
    };

/// The name of a scheme, as errors give it.
#[derive(Clone, Copy)]
pub(super) struct Name(pub(super) &'static str);

impl Name {
    /// Returns the error of a malformed text.
    pub(super) fn malformed(self) -> HashError {
        HashError::Form(self.0)
    }

    /// Returns the error of a parameter that is too large.
    pub(super) fn too_costly(self, what: &'static str, most: u32) -> HashError {
        HashError::TooCostly { scheme: self.0, what, most }
    }

    /// Parses a decimal number from 1 as these formats write it: no sign, no leading zero.
    pub(super) fn number(self, text: &str, what: &'static str, most: u32) -> Result<u32, HashError> {
        if text.is_empty() || text.starts_with('0') || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(self.malformed());
        }
        text.parse().ok().filter(|number| *number <= most).ok_or_else(|| self.too_costly(what, most))
    }

    /// Parses such a number after its name and an equals sign.
    pub(super) fn named(self, text: &str, name: &'static str, most: u32) -> Result<u32, HashError> {
        let value = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).ok_or_else(|| self.malformed())?;
        self.number(value, name, most)
    }

    /// Decodes Base64 without padding.
    pub(super) fn base64(self, text: &str) -> Result<Vec<u8>, HashError> {
        STANDARD_NO_PAD.decode(text).map_err(|_| self.malformed())
    }

    /// Decodes Base64 with padding.
    pub(super) fn padded_base64(self, text: &str) -> Result<Vec<u8>, HashError> {
        STANDARD.decode(text).map_err(|_| self.malformed())
    }

    /// Decodes passlib's Base64.
    pub(super) fn passlib_base64(self, text: &str) -> Result<Vec<u8>, HashError> {
        PASSLIB.decode(text).map_err(|_| self.malformed())
    }

    /// Decodes hexadecimal digits.
    pub(super) fn hexadecimal(self, text: &str) -> Result<Vec<u8>, HashError> {
        hex::decode(text).map_err(|_| self.malformed())
    }
}
