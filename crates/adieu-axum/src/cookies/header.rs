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
