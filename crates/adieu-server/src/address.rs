//! The address of the client that sent a request.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The header in which a proxy names the client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether an unreadable entry has been logged.
    has_warned: AtomicBool,
}

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, has_warned: AtomicBool::new(false) }
    }

    /// Returns the address of the client: the peer's own or, if the peer is a trusted proxy, the last one in
    /// `X-Forwarded-For` that is not a trusted proxy itself. Entries before that one were written by the client and
    /// are not trusted.
    #[must_use]
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_trusted = |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        let mut client = peer.to_canonical();
        if !is_trusted(client) {
            return client;
        }
        // A repeated header is one list (RFC 9110 §5.3).
        for header in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in String::from_utf8_lossy(header.as_bytes()).rsplit(',') {
                // An unreadable entry hides the entries before it.
                let Some(address) = forwarded(entry) else {
                    self.warn_once(client, entry);
                    return client;
                };
                client = address;
                if !is_trusted(client) {
                    return client;
                }
            }
        }
        client
    }

    fn warn_once(&self, proxy: IpAddr, entry: &str) {
        if !self.has_warned.swap(true, Relaxed) {
            let entry: String = entry.chars().take(64).collect();
            tracing::warn!(
                %proxy, entry,
                "a trusted proxy sends X-Forwarded-For with an entry that is not an address; its clients count as the proxy"
            );
        }
    }
}

/// Parses an entry of the header: an address, which some proxies write with a port, and an IPv6 address in brackets.
fn forwarded(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || entry.parse().ok().map(|address: SocketAddr| address.ip());
    entry.parse().ok().or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

/// Returns the network that one party can be assumed to have for itself: an IPv4 address, or an IPv6 /64, in which
/// one host may choose among 2^64 addresses (RFC 4291 §2.5.4).
#[must_use]
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
        TrustedProxies::new(trusted.to_vec()).client_address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_what_they_saw() {
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1 , 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("::1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9:51234"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["6.6.6.6:1, [::ffff:198.51.100.1]:2, 10.0.0.2:3"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, "], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, [203.0.113.9]"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 203.0.113.9:65536"], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn neighbours_in_one_v6_network_are_one_party() {
        let party = |text: &str| super::party(text.parse().unwrap()).to_string();
        assert_eq!(party("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(party("192.0.2.7"), "192.0.2.7");
        assert_eq!(party("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
