//! Usernames and passwords as people type them.
//!
//! 1. Both are converted to Unicode's normalisation form NFC, because the same key press gives different code points on different
//!    systems: "é" is one code point on Windows and may be two on a Mac, and must be the same user.
//! 2. Nothing else is changed silently. Invalid texts are rejected with a message for the user.
//!
//! Two names that merely look alike (Latin "a" and Cyrillic "а") are two names, as are "José" and "josé".

use std::fmt::{self, Write as _};

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Maximum length of a username, in characters.
pub const MAX_USERNAME_CHARACTERS: usize = 80;

/// Maximum length of a password, in bytes of UTF-8. Long enough for any passphrase, but bounded, because hashing reads all of it.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The reason why a text is rejected: a sentence for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(String);

impl TextError {
    /// Creates an error with this sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A username: 1 to [`MAX_USERNAME_CHARACTERS`] characters in NFC, without control characters and without surrounding white space. As with
/// [`Password`], a login accepts names that a new account may not have.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username(String);

impl Username {
    /// Checks a name for a new account. It may not contain invisible characters, which would make two names look the same.
    ///
    /// # Errors
    /// As [`Username::new`], and if the name contains an invisible character.
    pub fn chosen(typed: &str) -> Result<Self, TextError> {
        let name = Self::new(typed)?;
        if name.0.chars().any(is_invisible) {
            return Err(TextError::new("Characters that can't be seen are not allowed."));
        }
        Ok(name)
    }

    /// Reads a name that may belong to an existing account, as typed or stored.
    ///
    /// # Errors
    /// Fails if the name is empty or too long, has surrounding white space, or contains a control character.
    pub fn new(typed: &str) -> Result<Self, TextError> {
        // One character in NFC comes from at most four code points of three bytes, or one of four: this bounds the work in advance.
        if typed.len() > MAX_USERNAME_CHARACTERS * 12 {
            return Err(too_long(MAX_USERNAME_CHARACTERS));
        }
        let name: String = typed.nfc().collect();
        if name.is_empty() {
            return Err(too_short(1));
        }
        if name.chars().count() > MAX_USERNAME_CHARACTERS {
            return Err(too_long(MAX_USERNAME_CHARACTERS));
        }
        if name.chars().any(is_control) {
            return Err(TextError::new("Control characters are not allowed."));
        }
        if name.trim() != name {
            return Err(TextError::new("White space at the beginning or end is not allowed."));
        }
        Ok(Self(name))
    }

    /// Returns the name in NFC.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A part of the names that a search finds, in NFC. ASCII letters match in either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePart(String);

impl NamePart {
    /// Reads a part of a name as typed.
    ///
    /// # Errors
    /// Fails if no name can contain it.
    pub fn new(typed: &str) -> Result<Self, TextError> {
        if typed.len() > MAX_USERNAME_CHARACTERS * 12 {
            return Err(too_long(MAX_USERNAME_CHARACTERS));
        }
        let part: String = typed.nfc().collect();
        if part.is_empty() {
            return Err(too_short(1));
        }
        if part.chars().count() > MAX_USERNAME_CHARACTERS {
            return Err(too_long(MAX_USERNAME_CHARACTERS));
        }
        if part.chars().any(is_control) {
            return Err(TextError::new("Control characters are not allowed."));
        }
        Ok(Self(part.to_ascii_lowercase()))
    }

    /// Returns the part, with its ASCII letters in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether the character is a control character or changes the direction of the surrounding text (which makes one name look like
/// another in a list).
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Returns whether the character is invisible: [`is_control`], and the rest of Unicode's `Default_Ignorable_Code_Point`, such as the soft
/// hyphen, joiners and fillers. Some have a use within words of some scripts, but two names that differ only in them can't be
/// distinguished.
pub(crate) fn is_invisible(character: char) -> bool {
    is_control(character)
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the text in one line, with characters escaped that a terminal would interpret.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = Visible(String::with_capacity(text.len()));
    let _infallible = shown.write_str(text);
    shown.0
}

/// Writes text like [`visible`].
pub(crate) struct Visible<W>(pub(crate) W);

impl<W: fmt::Write> fmt::Write for Visible<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return self.0.write_str(text);
        }
        for character in text.chars() {
            if is_invisible(character) {
                write!(self.0, "{}", character.escape_unicode())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Like [`visible`], for a JSON document, where such characters occur only within strings.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if is_invisible(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A password as typed. It is wiped from memory when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Password {
    typed: SecretString,
    normalised: SecretString,
}

impl Password {
    /// Reads a password to compare with a stored one. It may be shorter than a new password must be.
    ///
    /// # Errors
    /// Fails if it is longer than [`MAX_PASSWORD_BYTES`] or contains a null character, at which bcrypt would stop.
    pub fn typed(typed: SecretString) -> Result<Self, TextError> {
        let text = typed.expose_secret();
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(too_long(MAX_PASSWORD_BYTES));
        }
        if text.contains('\0') {
            return Err(TextError::new("Null characters are not allowed."));
        }
        let normalised = if is_nfc(text) { typed.clone() } else { text.nfc().collect::<String>().into() };
        Ok(Self { typed, normalised })
    }

    /// Checks a password to be stored: at least `minimum` characters.
    ///
    /// # Errors
    /// As [`Password::typed`], and if it is too short.
    pub fn chosen(typed: SecretString, minimum: usize) -> Result<Self, TextError> {
        let password = Self::typed(typed)?;
        if password.normalised().chars().count() < minimum {
            return Err(too_short(minimum));
        }
        Ok(password)
    }

    /// Returns whether both are the same password.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.normalised() == other.normalised()
    }

    /// Returns the password in NFC, as this server hashes it.
    pub(crate) fn normalised(&self) -> &str {
        self.normalised.expose_secret()
    }

    /// Returns the password as typed, as other software hashed it, which does not normalise.
    pub(crate) fn as_typed(&self) -> &str {
        self.typed.expose_secret()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

// The wording of marshmallow, which clients of a Flask API know.
fn too_short(minimum: usize) -> TextError {
    TextError(format!("Shorter than minimum length {minimum}."))
}

fn too_long(maximum: usize) -> TextError {
    TextError(format!("Longer than maximum length {maximum}."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_its_accents_are_typed() {
        assert_eq!(Username::new("jose\u{301}").unwrap(), Username::new("jos\u{e9}").unwrap());
        assert_eq!(Username::new("José Salvatierra").unwrap().as_str(), "José Salvatierra");
        assert_ne!(Username::new("José").unwrap(), Username::new("josé").unwrap());
    }

    #[test]
    fn a_name_that_can_not_be_one_is_refused() {
        let message = |name: &str| Username::new(name).unwrap_err().to_string();
        assert_eq!(message(""), "Shorter than minimum length 1.");
        assert_eq!(message(&"é".repeat(81)), "Longer than maximum length 80.");
        assert_eq!(message(&"e\u{301}".repeat(100_000)), "Longer than maximum length 80.");
        for name in ["a\nb", "a\0", "a\u{7f}", "a\u{202e}b", "\u{feff}a", "\u{200b}"] {
            assert_eq!(message(name), "Control characters are not allowed.", "{name:?}");
        }
        for name in [" a", "a ", "\u{3000}a", " "] {
            assert_eq!(message(name), "White space at the beginning or end is not allowed.", "{name:?}");
        }
        assert!(Username::new(&"é".repeat(80)).is_ok());
        assert!(Username::new(&"e\u{301}".repeat(80)).is_ok());
    }

    #[test]
    fn a_new_name_shows_all_that_is_in_it() {
        for hidden in
            ['\u{ad}', '\u{34f}', '\u{61c}', '\u{180e}', '\u{200c}', '\u{200d}', '\u{3164}', '\u{fe0f}', '\u{e0041}']
        {
            let name = format!("jo{hidden}se");
            let refused = Username::chosen(&name).unwrap_err().to_string();
            assert_eq!(refused, "Characters that can't be seen are not allowed.", "{hidden:?}");
            assert!(Username::new(&name).is_ok(), "an account with such a name can log in: {hidden:?}");
        }
        assert_eq!(Username::chosen("jo\u{202e}se").unwrap_err().to_string(), "Control characters are not allowed.");
        for name in ["José", "名前", "ßé ñ", "👋", "ʻokina", "नाम"] {
            assert_eq!(Username::chosen(name).unwrap(), Username::new(name).unwrap());
        }
    }

    #[test]
    fn a_password_is_bounded_and_the_minimum_is_for_new_ones() {
        let chosen = |text: &str, minimum| Password::chosen(text.into(), minimum).map_err(|error| error.to_string());
        assert!(chosen("1234", 1).is_ok());
        assert_eq!(chosen("", 1).unwrap_err(), "Shorter than minimum length 1.");
        assert_eq!(chosen("éééé", 5).unwrap_err(), "Shorter than minimum length 5.");
        assert_eq!(chosen(&"x".repeat(1025), 1).unwrap_err(), "Longer than maximum length 1024.");
        assert_eq!(chosen("a\0b", 1).unwrap_err(), "Null characters are not allowed.");
        assert!(chosen(&"x".repeat(1024), 1).is_ok());
        assert!(Password::typed("".into()).is_ok());
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", Password::typed("hunter2".into()).unwrap()), "Password(…)");
    }
}
