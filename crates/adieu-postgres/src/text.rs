//! Encodes texts so that PostgreSQL can store them.
//!
//! A `TEXT` of PostgreSQL holds any character but NUL, and an id may have one. So NUL is written as `\u{1}\u{1}` and
//! `\u{1}` itself as `\u{1}\u{2}`; every other text is written unchanged. The encoding is reversible and keeps the
//! order: with `COLLATE "C"` two texts compare byte by byte, as in the other engines.

use std::borrow::Cow;

const ESCAPE: char = '\u{1}';
const NUL: char = '\u{1}';
const ESCAPE_ITSELF: char = '\u{2}';

/// Encodes a text for a column.
#[must_use]
pub fn to_text(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => written.extend([ESCAPE, NUL]),
            ESCAPE => written.extend([ESCAPE, ESCAPE_ITSELF]),
            other => written.push(other),
        }
    }
    Cow::Owned(written)
}

/// Decodes a text that [`to_text`] has encoded.
///
/// # Errors
/// [`sqlx::Error::Decode`] if the text is not valid in this encoding.
pub fn from_text(written: &str) -> sqlx::Result<Cow<'_, str>> {
    if !written.contains(ESCAPE) {
        return Ok(Cow::Borrowed(written));
    }
    let mut text = String::with_capacity(written.len());
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            ESCAPE => match characters.next() {
                Some(NUL) => '\0',
                Some(ESCAPE_ITSELF) => ESCAPE,
                _ => return Err(super::invalid("a text that was not written by adieu")),
            },
            other => other,
        });
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{from_text, to_text};

    const TEXTS: [&str; 14] = [
        "",
        "a",
        "\0",
        "\0\0",
        "\u{1}",
        "\u{1}\u{1}",
        "\u{1}\u{2}",
        "\u{2}",
        "\0\u{1}",
        "\u{1}\0",
        "a\0b",
        "a",
        "é\0",
        "🦀",
    ];

    #[test]
    fn a_text_comes_back_as_it_was_and_holds_no_nul() {
        for text in TEXTS {
            let written = to_text(text);
            assert!(!written.contains('\0'));
            assert_eq!(from_text(&written).unwrap(), text);
        }
        assert!(from_text("\u{1}").is_err() && from_text("\u{1}a").is_err());
    }

    #[test]
    fn the_order_stays() {
        for one in TEXTS {
            for other in TEXTS {
                assert_eq!(to_text(one).as_bytes().cmp(to_text(other).as_bytes()), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }
}
