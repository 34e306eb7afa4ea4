//! The peer of a connection, and the address of the client that sent a request.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::HeaderMap;

use crate::config::TrustedProxy;

/// The header in which a proxy names the client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A socket of TCP.
    Tcp(SocketAddr),
    /// A process of this machine, on a Unix socket.
    Unix,
}

impl Peer {
    /// Returns its address, which is 127.0.0.1 for a process on a Unix socket.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip().to_canonical(),
            Self::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Returns whether it is one of these proxies. A process on a Unix socket is none of those in the network of its address: other
    /// users of this machine may connect from there.
    #[must_use]
    pub fn is_one_of(self, proxies: &[TrustedProxy]) -> bool {
        match self {
            Self::Tcp(_) => proxies.iter().any(|proxy| proxy.has(self.address())),
            Self::Unix => proxies.contains(&TrustedProxy::UnixSocket),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("unix:"),
        }
    }
}

/// The proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug)]
pub struct TrustedProxies {
    proxies: Vec<TrustedProxy>,
    /// Whether an unreadable entry has been logged.
    has_warned: AtomicBool,
}

impl TrustedProxies {
    /// Trusts these proxies.
    #[must_use]
    pub fn new(proxies: Vec<TrustedProxy>) -> Self {
        Self { proxies, has_warned: AtomicBool::new(false) }
    }

    /// Returns the address of the client: the peer's own or, if the peer is a trusted proxy, the last one in
    /// `X-Forwarded-For` that is not a trusted proxy itself. Entries before that one were written by the client and
    /// are not trusted.
    #[must_use]
    pub fn client_address(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.address();
        if !peer.is_one_of(&self.proxies) {
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
                if !self.proxies.iter().any(|proxy| proxy.has(client)) {
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
    use std::time::{Duration, Instant};

    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let peer = peer.parse().map_or(Peer::Unix, |address| Peer::Tcp(SocketAddr::new(address, 1)));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        let networks = ["10.0.0.0/8", "::1/128"].map(|network| TrustedProxy::Network(network.parse().unwrap()));
        let proxies = [&networks[..], &[TrustedProxy::UnixSocket]].concat();
        TrustedProxies::new(proxies).client_address(peer, &headers).to_string()
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
            ("unix:", &[], "127.0.0.1"),
            ("unix:", &["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("unix:", &["198.51.100.1, unix:"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "127.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    /// Returns the headers with these values, as bytes.
    fn forwarded_for(values: &[Vec<u8>]) -> HeaderMap {
        let values = values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok());
        values.map(|value| (HeaderName::from_static(FORWARDED_FOR), value)).collect()
    }

    /// What clients and proxies write: addresses in all forms, and what looks like them.
    const ENTRIES: &str = r"[ \t]?([0-9a-f:.]{0,12}|198\.51\.100\.[0-9](:[0-9]{1,5})?|\[?2001:db8::[0-9a-f]{1,4}\]?(:80)?|unknown|_x|é)[ ,]?";

    proptest! {
        #[test]
        fn whatever_a_stranger_sends_its_address_is_its_own(values: Vec<Vec<u8>>, peer: u32) {
            let proxies = TrustedProxies::new(vec![TrustedProxy::Network("10.0.0.0/8".parse().unwrap())]);
            let peer = IpAddr::from(Ipv4Addr::from_bits(peer | 0x8000_0000));
            let seen = proxies.client_address(Peer::Tcp(SocketAddr::new(peer, 1)), &forwarded_for(&values));
            prop_assert_eq!(seen, peer);
        }

        #[test]
        fn whatever_a_client_sends_a_proxy_names_its_address(
            by_client in prop::collection::vec(prop::collection::vec(ENTRIES, 0..4), 0..3),
            client in 1_u32..0x0A00_0000,
            proxies_between in prop::collection::vec(0x0A00_0000_u32..0x0B00_0000, 0..3),
            in_headers_of_their_own: bool,
            in_forwarded in prop::collection::vec("[Ff]or=\"?(198\\.51\\.100\\.[0-9]|\\[2001:db8::1\\]:80|10\\.0\\.0\\.1|_x)\"?(;by=10\\.0\\.0\\.1)?", 0..3),
        ) {
            let proxies = TrustedProxies::new(vec![TrustedProxy::Network("10.0.0.0/8".parse().unwrap())]);
            let client = IpAddr::from(Ipv4Addr::from_bits(client));
            let mut values: Vec<Vec<u8>> = by_client.iter().map(|entries| entries.join(",").into_bytes()).collect();
            let between = proxies_between.into_iter().map(|proxy| IpAddr::from(Ipv4Addr::from_bits(proxy)));
            let by_proxies: Vec<String> = [client].into_iter().chain(between).map(|address| address.to_string()).collect();
            match values.last_mut().filter(|_| !in_headers_of_their_own) {
                Some(last) => last.extend_from_slice(format!(",{}", by_proxies.join(", ")).as_bytes()),
                None => values.extend(by_proxies.into_iter().map(String::into_bytes)),
            }
            let peer = Peer::Tcp("10.0.0.1:1".parse().unwrap());
            let mut headers = forwarded_for(&values);
            // A proxy that writes `X-Forwarded-For` passes this header of the client's on.
            for value in in_forwarded {
                headers.append("forwarded", value.parse().unwrap());
            }
            prop_assert_eq!(proxies.client_address(peer, &headers), client);
        }

        #[test]
        fn any_bytes_from_a_proxy_are_an_address_or_ignored(values: Vec<Vec<u8>>, entries in prop::collection::vec(ENTRIES, 0..9)) {
            let proxies = TrustedProxies::new(vec![TrustedProxy::UnixSocket]);
            let _whatever = proxies.client_address(Peer::Unix, &forwarded_for(&values));
            let seen = proxies.client_address(Peer::Unix, &forwarded_for(&[entries.join(",").into_bytes()]));
            let named = entries.join(",").rsplit(',').next().and_then(forwarded);
            prop_assert_eq!(seen, named.unwrap_or(Ipv4Addr::LOCALHOST.into()));
        }
    }

    #[test]
    fn the_longest_head_is_read_in_no_time() {
        let proxies =
            TrustedProxies::new(vec![TrustedProxy::UnixSocket, TrustedProxy::Network("::/0".parse().unwrap())]);
        let started = Instant::now();
        for entry in [",", "1.2.3.4,", "[::1]:1,", ":", "\u{e9}", " "] {
            let value = entry.repeat((144 << 10) / entry.len()).into_bytes();
            let lines: Vec<_> = value.chunks(20).map(<[u8]>::to_vec).collect();
            let _addresses =
                [&[value][..], &lines].map(|values| proxies.client_address(Peer::Unix, &forwarded_for(values)));
        }
        // A quadratic one would take minutes.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn a_process_on_a_unix_socket_is_trusted_by_that_name_only() {
        for (proxy, is_trusted) in [("127.0.0.0/8", false), ("0.0.0.0/0", false), ("unix:", true)] {
            let proxy = proxy.parse().map_or(TrustedProxy::UnixSocket, TrustedProxy::Network);
            assert_eq!(Peer::Unix.is_one_of(&[proxy]), is_trusted, "{proxy:?}");
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
