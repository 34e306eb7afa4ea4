//! Removal of cookies that a browser has more than once. It does not send their domain and path, so they are removed for
//! every domain and path that they can have.

use std::net::IpAddr;

use axum::{
    extract::OriginalUri,
    http::{header, request::Parts},
};
use cookie::Cookie;

use super::{Cookies, SameSite, SetCookies, has_prefix, header::count_cookies, is_host_byte, is_value_byte};

/// The maximum numbers of domains and paths.
const MAX_DOMAINS: usize = 4;
const MAX_PATHS: usize = 12;
/// The maximum length of the removals of one response, in bytes. Beside them it sets tokens, and many proxies accept no more than
/// 4 KB of headers.
const MAX_BYTES: usize = 2048;

impl Cookies {
    /// Removes the cookies that this request carries more than once, whatever their domains and paths: as many of these as
    /// fit, and first those that differ least from the settings.
    pub(crate) fn unset_repeated(&self, parts: &Parts) -> SetCookies {
        let mut variants = Vec::new();
        for cookie in [&self.access, &self.refresh] {
            for (name, path) in [(&cookie.name, &cookie.path), (&cookie.csrf_name, &cookie.csrf_path)] {
                if count_cookies(&parts.headers, name) > 1 {
                    variants.extend(self.variants_of(name, path, cookie.same_site, parts));
                }
            }
        }
        variants.sort_by_key(|(differs, _)| *differs);
        let mut set = SetCookies::default();
        let mut left = MAX_BYTES;
        for (_, cookie) in variants {
            let Some(rest) = left.checked_sub(cookie.to_string().len()) else { break };
            left = rest;
            set.push(&cookie);
        }
        set
    }

    /// Returns removals of a cookie, each with how much its domain, path and partition differ from the settings.
    fn variants_of<'c>(
        &'c self,
        name: &'c str,
        path: &'c str,
        same_site: SameSite,
        parts: &'c Parts,
    ) -> Vec<(usize, Cookie<'c>)> {
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
        let (mut domains, mut paths) = (vec![self.domain.as_deref()], vec![path]);
        if !has_prefix(name, "__Host-") {
            domains.extend([None].into_iter().chain(domains_of(host_of(parts)).map(Some)));
            paths.extend(["/"].into_iter().chain(paths_of(uri.path())));
            keep_first(&mut domains);
            keep_first(&mut paths);
        }
        let partitions = if self.secure { vec![self.partitioned, !self.partitioned] } else { vec![false] };
        let mut variants = Vec::new();
        for (d, domain) in domains.iter().enumerate() {
            for (p, path) in paths.iter().enumerate() {
                for (c, partitioned) in partitions.iter().enumerate() {
                    let mut cookie = Cookie::new(name, "");
                    cookie.set_path(*path);
                    cookie.set_secure(self.secure);
                    cookie.set_partitioned(*partitioned);
                    cookie.set_max_age(cookie::time::Duration::ZERO);
                    if same_site == SameSite::None {
                        // Without it, a page of another site could not remove the cookie.
                        cookie.set_same_site(same_site.attribute());
                    }
                    if let Some(domain) = *domain {
                        cookie.set_domain(domain);
                    }
                    variants.push((d.saturating_add(p).saturating_add(c), cookie));
                }
            }
        }
        variants
    }
}

/// Removes the later ones of equal items.
fn keep_first<T: PartialEq + Copy>(list: &mut Vec<T>) {
    let all = std::mem::take(list);
    for item in all {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// Returns the host of a request, without its port.
fn host_of(parts: &Parts) -> &str {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

/// Returns a host and the domains above it that can have cookies: all but the last.
fn domains_of(host: &str) -> impl Iterator<Item = &str> {
    let is_name = !host.starts_with('[') && host.parse::<IpAddr>().is_err() && host.bytes().all(is_host_byte);
    let first = Some(host).filter(|_| is_name);
    std::iter::successors(first, |domain| Some(domain.split_once('.')?.1))
        .filter(|domain| domain.contains('.'))
        .take(MAX_DOMAINS)
}

/// Returns the paths whose cookies are sent with a request for `path`, except `/` (RFC 6265 §5.1.4).
fn paths_of(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().skip(1).filter(|(_, letter)| *letter == '/').map(|(at, _)| at);
    let below = ends.flat_map(move |at| [path.get(..at), path.get(..=at)]).chain([Some(path)]);
    below.flatten().filter(|path| path.len() > 1 && path.bytes().all(is_value_byte)).take(MAX_PATHS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_matches_is_gone_through() {
        assert_eq!(paths_of("/").count(), 0);
        assert_eq!(paths_of("/a").collect::<Vec<_>>(), ["/a"]);
        assert_eq!(paths_of("/a/b/").collect::<Vec<_>>(), ["/a", "/a/", "/a/b", "/a/b/", "/a/b/"]);
    }

    #[test]
    fn every_domain_above_a_host_is_gone_through() {
        assert_eq!(domains_of("a.shop.example").collect::<Vec<_>>(), ["a.shop.example", "shop.example"]);
        for host in ["localhost", "127.0.0.1", "[::1]", "", "a;b.example"] {
            assert_eq!(domains_of(host).count(), 0, "{host}");
        }
    }
}
