//! A fast parser for JSON objects as nearly every issuer writes them: names and strings without escapes, integers,
//! `true`, `false`, `null` and lists of strings, without white space.
//!
//! 1. It either returns the same members in the same order as the strict parser, which would have accepted the object,
//!    or [`NotPlain`]: the caller must then use the strict parser.
//! 2. It rejects nothing. Only the strict parser defines which objects are valid, and why others are not.
//!
//! So it need not support unusual input, however valid: white space, escapes, fractions, signs, numbers of more than 19
//! digits, nested objects, other lists. The rest is a small part of RFC 8259 that covers nearly all tokens.

use std::borrow::Cow;

use super::{MAX_MEMBERS, Members, Value};

/// Nothing is known about the object, and what was handed over until now is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPlain;

/// Any number of so many digits fits into 64 bits.
const MAX_DIGITS: usize = 19;

/// Reads an object and hands over its members in order.
///
/// # Errors
/// When the object is not a plain one, or `members` refuses one of them.
#[inline]
pub(super) fn read_members<'a, M: Members<'a>>(json: &'a str, members: &mut M) -> Result<(), NotPlain> {
    let mut reader = Reader { json, at: 0 };
    reader.expect(b'{')?;
    // Asked first: an object inside is the most common thing that is not plain, and often comes last, when all that is
    // before it would have been read for nothing.
    if json.ends_with("}}") {
        return Err(NotPlain);
    }
    // At least one member: an object without any is as rare as it is useless.
    for _ in 0..MAX_MEMBERS {
        reader.expect(b'"')?;
        let name = reader.text()?;
        reader.expect(b':')?;
        let value = reader.value(M::keeps_texts(name))?;
        members.insert(Cow::Borrowed(name), value).map_err(|_| NotPlain)?;
        match reader.next()? {
            b',' => {}
            b'}' if reader.at == json.len() => return Ok(()),
            _ => break,
        }
    }
    Err(NotPlain)
}

struct Reader<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn next(&mut self) -> Result<u8, NotPlain> {
        let byte = *self.json.as_bytes().get(self.at).ok_or(NotPlain)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn expect(&mut self, expected: u8) -> Result<(), NotPlain> {
        if self.next()? == expected { Ok(()) } else { Err(NotPlain) }
    }

    #[inline]
    fn value(&mut self, keeps_texts: bool) -> Result<Value<'a>, NotPlain> {
        match self.next()? {
            b'"' => Ok(Value::Text(Cow::Borrowed(self.text()?))),
            b't' => self.rest_of("rue", Value::Bool(true)),
            b'f' => self.rest_of("alse", Value::Bool(false)),
            b'n' => self.rest_of("ull", Value::Other),
            b'[' => self.texts(keeps_texts),
            b'0' => Ok(Value::Unsigned(0)),
            first @ b'1'..=b'9' => self.number(first),
            _ => Err(NotPlain),
        }
    }

    #[inline]
    fn rest_of(&mut self, rest: &str, value: Value<'a>) -> Result<Value<'a>, NotPlain> {
        let tail = self.json.as_bytes().get(self.at..).ok_or(NotPlain)?;
        if !tail.starts_with(rest.as_bytes()) {
            return Err(NotPlain);
        }
        self.at += rest.len();
        Ok(value)
    }

    /// The rest of a text, after its opening quotation mark, with the closing one.
    #[inline]
    fn text(&mut self) -> Result<&'a str, NotPlain> {
        let tail = self.json.as_bytes().get(self.at..).ok_or(NotPlain)?;
        let end = self.at + plain_len(tail);
        let text = self.json.get(self.at..end).ok_or(NotPlain)?;
        self.at = end;
        self.expect(b'"')?;
        Ok(text)
    }

    /// Reads the rest of an integer after its first digit, which is not zero.
    ///
    /// A fraction or an exponent fails later: the caller expects the end of the value.
    #[inline]
    fn number(&mut self, first: u8) -> Result<Value<'a>, NotPlain> {
        let tail = self.json.as_bytes().get(self.at..).ok_or(NotPlain)?;
        let mut number = u64::from(first - b'0');
        let mut digits = 1;
        for digit in tail.iter().map(|byte| byte.wrapping_sub(b'0')).take_while(|digit| *digit <= 9) {
            if digits == MAX_DIGITS {
                return Err(NotPlain);
            }
            number = number * 10 + u64::from(digit);
            digits += 1;
        }
        self.at += digits - 1;
        Ok(Value::Unsigned(number))
    }

    /// The rest of a list of at least one text, after its opening bracket.
    fn texts(&mut self, keep: bool) -> Result<Value<'a>, NotPlain> {
        let mut texts = Vec::new();
        loop {
            self.expect(b'"')?;
            let text = self.text()?;
            if keep {
                texts.push(Cow::Borrowed(text));
            }
            match self.next()? {
                b',' => {}
                b']' => return Ok(Value::Texts(texts)),
                _ => return Err(NotPlain),
            }
        }
    }
}

/// How many bytes there are before the first quotation mark, backslash or control character (RFC 8259 §7).
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let special = special_in(u64::from_le_bytes(*word));
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// The high bit of each special byte; above the lowest of them also of bytes that are not, because of the borrow.
#[inline]
const fn special_in(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // Turning this bit over puts the quotation mark, 0x22, right behind the control characters.
    let control_or_quote = (word ^ (EACH * 0x02)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (control_or_quote | backslash) & !word & (EACH * 0x80)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use proptest::{prelude::*, sample::Index};

    use super::{super::read_any_object, *};
    use crate::{
        Issuer, SessionId, Subject,
        time::Timestamp,
        token::{Algorithm, Claims, Fresh, SigningKey, TokenError, TokenType, base64url, encode},
    };

    #[derive(Debug, Default, PartialEq)]
    struct Seen<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

    impl<'a> Members<'a> for Seen<'a> {
        fn keeps_texts(name: &str) -> bool {
            name == "aud"
        }

        fn insert(&mut self, name: Cow<'a, str>, value: Value<'a>) -> Result<(), TokenError> {
            if self.0.iter().any(|(known, _)| *known == name) {
                return Err(TokenError::Malformed("a name appears twice"));
            }
            self.0.push((name, value));
            Ok(())
        }
    }

    /// Whether the object is a plain one; if it is, then both readers see the same.
    fn is_plain(json: &str) -> bool {
        let mut seen = Seen::default();
        let plain = read_members(json, &mut seen).is_ok();
        if plain {
            let mut strictly = Seen::default();
            read_any_object(json, "", &mut strictly).unwrap();
            assert_eq!(strictly, seen, "{json:?}");
        }
        plain
    }

    fn is_plain_or_no_text(json: &[u8]) {
        if let Ok(json) = std::str::from_utf8(json) {
            is_plain(json);
        }
    }

    /// As Flask-JWT-Extended writes them.
    const FLASK: &str = concat!(
        r#"{"fresh":true,"iat":1735689600,"jti":"7b0d4c1e-50a1-4d1c-9f0c-6f1f3d7a2b11","type":"access","sub":"42","#,
        r#""nbf":1735689600,"csrf":"e5b7d0d2-3f0e-4a8f-8a66-0d0e1d3f9c55","exp":1735690500}"#
    );

    /// One of everything that is plain.
    const ALL: &str =
        r#"{"iss":"é","aud":["ab","c"],"exp":1735689600,"x":0,"type":"access","fresh":false,"a":true,"b":null,"":""}"#;

    #[test]
    fn what_our_own_tokens_say_is_plain() {
        let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
        let mut claims = Claims::new(
            Issuer::new("https://api.example.com").unwrap(),
            Subject::new("josé").unwrap(),
            TokenType::Access,
            Timestamp::from_unix(1_735_689_600),
            Duration::from_secs(900),
        );
        let mut check = |change: fn(&mut Claims)| {
            change(&mut claims);
            for part in encode(&key, &claims).unwrap().split('.').take(2) {
                let json = String::from_utf8(base64url::decode(part).unwrap()).unwrap();
                assert!(is_plain(&json), "{json}");
            }
        };
        check(|_| {});
        check(|claims| claims.session = Some(SessionId::random()));
        check(|claims| claims.audience.push("one".to_owned()));
        check(|claims| claims.audience.push("another".to_owned()));
        check(|claims| claims.fresh = Fresh::Until(claims.expires_at));
        check(|claims| drop(claims.custom.insert("is_admin".to_owned(), false.into())));
        check(|claims| drop(claims.custom.insert("name".to_owned(), "José".into())));
        check(|claims| drop(claims.custom.insert("level".to_owned(), u32::MAX.into())));
    }

    #[test]
    fn what_other_tokens_say_is_plain() {
        for json in [FLASK, ALL, r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"n":9999999999999999999}"#, r#"{"a":"{}"}"#] {
            assert!(is_plain(json), "{json}");
        }
    }

    #[test]
    fn nothing_is_said_of_what_is_unusual_or_wrong() {
        for json in [
            "",
            "{",
            "{}",
            "[]",
            "\u{feff}{\"a\":1}",
            r#" {"a":1}"#,
            r#"{"a":1} "#,
            r#"{"a": 1}"#,
            r#"{"a":1}}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a"1}"#,
            r#"{"a":}"#,
            r#"{"a":1"b":2}"#,
            r#"{"a":1;"b":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1"#,
            r#"{"a":"b}"#,
            r#"{"a":"\n"}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":\"\u{1f}\"}",
            "{\"a\":\"12345678\n\"}",
            r#"{"a":01}"#,
            r#"{"a":00}"#,
            r#"{"a":-0}"#,
            r#"{"a":-1}"#,
            r#"{"a":+1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e0}"#,
            r#"{"a":0x1}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":tru}"#,
            r#"{"a":True}"#,
            r#"{"a":nullx}"#,
            r#"{"a":{}}"#,
            r#"{"a":{},"b":1}"#,
            r#"{"a":{"b":1},"c":1}"#,
            r#"{"a":[]}"#,
            r#"{"a":[1]}"#,
            r#"{"a":["b",]}"#,
            r#"{"a":["b"}"#,
        ] {
            assert!(!is_plain(json), "{json}");
        }
        let many = |count| format!("{{{}}}", Vec::from_iter((0..count).map(|n| format!("\"{n}\":0"))).join(","));
        assert!(is_plain(&many(MAX_MEMBERS)));
        assert!(!is_plain(&many(MAX_MEMBERS + 1)));
    }

    #[test]
    fn a_text_ends_at_its_first_special_byte_wherever_that_is() {
        for special in (0..=u8::MAX).filter(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            for filler in [b'!', b'#', b'[', b']', b' ', 0x7F, 0x80, 0xA2, 0xDC, 0xFF] {
                for before in 0..24 {
                    let mut bytes = [filler; 40];
                    bytes[before] = special;
                    assert_eq!(plain_len(&bytes), before);
                    assert_eq!(plain_len(&bytes[..=before]), before);
                    assert_eq!(plain_len(&bytes[..before]), before);
                }
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_seen_by_both() {
        const BYTES: &[u8] = b"\"\\{}[]:,0123456789-+.eEtfnul abz/\0\x01\x1f\n\r\t\x7f\x80\xc3\xa9\xff";
        for json in [FLASK, ALL] {
            for at in 0..json.len() {
                let (before, after) = json.as_bytes().split_at(at);
                is_plain_or_no_text(before);
                is_plain_or_no_text(&[before, &after[1..]].concat());
                for byte in BYTES {
                    is_plain_or_no_text(&[before, &[*byte], &after[1..]].concat());
                    is_plain_or_no_text(&[before, &[*byte], after].concat());
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => r#""[ -!#-\[\]-z|}~é€😀]{0,20}""#,
            4 => "0|[1-9][0-9]{0,18}",
            2 => "true|false|null",
            1 => r#"\["[a-z]{0,9}"(,"[a-z]{0,9}"){0,3}\]"#,
        ]
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let name = prop_oneof!["iss|sub|aud|iat|nbf|exp|jti|sid|type|fresh", "[a-zé_:/.]{0,12}"];
        let members = prop::collection::btree_map(name, value, 1..12).prop_map(Vec::from_iter).prop_shuffle();
        members.prop_map(|members| {
            let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", Vec::from_iter(members).join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn plain_objects_are_read(json in object(value())) {
            prop_assert!(is_plain(&json), "{}", json);
        }

        #[test]
        fn what_is_read_of_other_objects_is_the_same(
            json in object(prop_oneof![4 => value(), 1 => r#"[-+0-9.eE]{1,22}|[\[\]{}:,"a0 ]{0,6}|"[\\nu0-9a"]{0,9}""#]),
        ) {
            is_plain(&json);
        }

        #[test]
        fn what_is_read_of_damaged_objects_is_the_same(
            json in object(value()),
            damage in prop::collection::vec((any::<Index>(), any::<Index>(), "[\"\\\\{}\\[\\]:,0-9.eEtn\0-\u{20}-]{0,2}"), 1..4),
        ) {
            let mut json = json.into_bytes();
            for (start, length, bytes) in damage {
                let start = start.index(json.len() + 1);
                let end = (start + length.index(3)).min(json.len());
                json.splice(start..end, bytes.into_bytes());
            }
            is_plain_or_no_text(&json);
        }
    }
}
