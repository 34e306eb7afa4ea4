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

impl Cookies {
    /// Removes the cookies that this request carries more than once, whatever their domains and paths.
    pub(crate) fn unset_repeated(&self, parts: &Parts) -> SetCookies {
        let mut set = SetCookies::default();
        for cookie in [&self.access, &self.refresh] {
            for (name, path) in [(&cookie.name, &cookie.path), (&cookie.csrf_name, &cookie.csrf_path)] {
                if count_cookies(&parts.headers, name) > 1 {
                    self.unset_all_of(name, path, cookie.same_site, parts, &mut set);
                }
            }
        }
        set
    }

    fn unset_all_of(&self, name: &str, path: &str, same_site: SameSite, parts: &Parts, set: &mut SetCookies) {
        let is_bound_to_host = has_prefix(name, "__Host-");
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
        let (mut domains, mut paths) = (vec![None], vec!["/"]);
        if !is_bound_to_host {
            domains.extend(domains_of(host_of(parts)).map(Some));
            paths.extend(paths_of(uri.path()));
            if let Some(domain) = self.domain.as_deref().filter(|domain| !domains.contains(&Some(domain))) {
                domains.push(Some(domain));
            }
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        for domain in domains {
            for path in &paths {
                for partitioned in [false, true] {
                    if partitioned && !self.secure {
                        continue;
                    }
                    let mut cookie = Cookie::new(name, "");
                    cookie.set_path(*path);
                    cookie.set_secure(self.secure);
                    cookie.set_partitioned(partitioned);
                    cookie.set_max_age(cookie::time::Duration::ZERO);
                    if same_site == SameSite::None {
                        // Without it, a page of another site could not remove the cookie.
                        cookie.set_same_site(same_site.attribute());
                    }
                    if let Some(domain) = domain {
                        cookie.set_domain(domain);
                    }
                    set.push(&cookie);
                }
            }
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
