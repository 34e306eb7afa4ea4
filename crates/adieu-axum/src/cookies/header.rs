//! The cookies that a request has.

use std::iter;

use axum::http::{HeaderMap, header};
use memchr::memchr;

/// Returns how many cookies of this name a request has.
pub(super) fn count_cookies(headers: &HeaderMap, name: &str) -> usize {
    cookies_of(headers).filter(|(named, _)| *named == name.as_bytes()).count()
}

/// Returns the names and values of a request's cookies as bytes: browsers compare the prefixes of names that way (RFC 6265bis
/// §5.7), and would let a neighbouring domain set a name that begins with some other white space.
pub(crate) fn cookies_of(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    // The specification allows one `Cookie` header; HTTP/2 may split it (RFC 9113 §8.2.3).
    headers.get_all(header::COOKIE).iter().flat_map(|value| pairs(value.as_bytes())).filter_map(name_and_value)
}

/// Splits at semicolons.
fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(cookies);
    iter::from_fn(move || {
        let all = rest?;
        let (pair, after) = split_once(b';', all).map_or((all, None), |(pair, after)| (pair, Some(after)));
        rest = after;
        Some(pair)
    })
}

pub(crate) fn name_and_value(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = split_once(b'=', pair)?;
    Some((trim(name), trim(value)))
}

fn split_once(at: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, after) = bytes.split_at_checked(memchr(at, bytes)?)?;
    Some((before, after.get(1..)?))
}

/// Removes HTTP white space at both ends (RFC 9110 §5.6.3), and no other.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: impl IntoIterator<Item = Vec<u8>>) -> HeaderMap {
        let values = values.into_iter().filter_map(|value| HeaderValue::from_bytes(&value).ok());
        values.map(|value| (header::COOKIE, value)).collect()
    }

    proptest! {
        #[test]
        fn every_cookie_is_read_as_it_was_written(
            cookies in prop::collection::vec(("[!#-+.-9A-Z^-z|~-]{1,9}", "[!#-+.-:<-\\[\\]-~=-]{0,9}"), 0..6),
            white_space in "[ \t]{0,2}",
            split in 0_usize..6,
        ) {
            let written = |part: &[(String, String)]| {
                let pairs = part.iter().map(|(name, value)| format!("{white_space}{name}={value}{white_space}"));
                pairs.collect::<Vec<_>>().join(";").into_bytes()
            };
            // HTTP/2 may split the header.
            let (first, second) = cookies.split_at(split.min(cookies.len()));
            let headers = headers([written(first), written(second)]);
            let read = cookies_of(&headers).map(|(name, value)| (name.to_vec(), value.to_vec()));
            let expected = cookies.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()));
            prop_assert_eq!(read.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read(values: Vec<Vec<u8>>) {
            let headers = headers(values);
            for (name, value) in cookies_of(&headers) {
                prop_assert!(!name.contains(&b';') && !name.contains(&b'=') && !value.contains(&b';'));
                prop_assert_eq!((trim(name), trim(value)), (name, value));
            }
        }

        /// The grammar of RFC 6265 §4.2.1, without the quotes, which that crate would remove.
        #[test]
        fn cookies_are_read_as_another_parser_reads_them(text in "([!#-+.-9A-Z^-z|~-]{1,5}=[!#-+.-:<-\\[\\]-~]{0,5}(; )?){0,5}") {
            let text = text.trim_end_matches("; ");
            let headers = headers([text.as_bytes().to_vec()]);
            let read = cookies_of(&headers).map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>();
            let others = cookie::Cookie::split_parse(text).map(Result::unwrap);
            let expected = others.map(|cookie| (cookie.name().as_bytes().to_vec(), cookie.value().as_bytes().to_vec()));
            prop_assert_eq!(read, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_longest_head_is_read_in_no_time() {
        let started = Instant::now();
        for text in [";", "=", "a=;", " \t", "a=b; "].map(|text| text.repeat((144 << 10) / text.len())) {
            let _count = count_cookies(&headers([text.into_bytes()]), "a");
        }
        // A quadratic one would take minutes.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
