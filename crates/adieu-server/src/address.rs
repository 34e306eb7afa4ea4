//! Where a request comes from.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The header in which a proxy says whom it speaks for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client: the peer's own, or, when the peer is a trusted proxy, the last one in `X-Forwarded-For`
/// that is not a trusted proxy itself. What stands before that was written by the client and is not believed.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    // A header that is there several times is one list (RFC 9110 §5.3).
    for header in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in header.to_str().unwrap_or_default().rsplit(',') {
            // Something unreadable hides whatever is before it.
            let Ok(address) = entry.trim().parse::<IpAddr>() else { return client };
            client = address.to_canonical();
            if !is_trusted(client) {
                return client;
            }
        }
    }
    client
}

/// The network that one party can be assumed to have for itself: an IPv4 address, or an IPv6 /64, in which anyone may
/// choose among 2^64 addresses (RFC 4291 §2.5.4).
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
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
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
