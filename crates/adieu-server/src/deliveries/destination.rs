//! Where messages may be sent: a URL that an operator has written must not lead into the network of the server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

/// The time limit of one attempt, from the connection to the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns an HTTP client for one receiver, which connects to global addresses only unless others are allowed. The names of hosts are
/// judged by the addresses that they have when a connection is made.
///
/// # Errors
/// If TLS cannot be set up on this system.
pub(crate) fn client(allow_private: bool) -> anyhow::Result<Client> {
    let builder = Client::builder()
        .user_agent(concat!("adieu/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT);
    let builder = if allow_private { builder } else { builder.dns_resolver(GlobalOnly) };
    builder.build().context("HTTP can't be used")
}

/// Parses the URL of a receiver.
///
/// # Errors
/// If it is not an HTTPS URL without credentials; with `allow_private`, HTTP is valid too. Also if its host is an address that is not
/// global, and none other is allowed.
pub(crate) fn parse(url: &str, allow_private: bool) -> anyhow::Result<Url> {
    // Neither error repeats the URL, which may have a token in its path.
    let url = Url::parse(url).map_err(|error| anyhow::anyhow!("the url is not valid: {error}"))?;
    ensure!(
        url.scheme() == "https" || (allow_private && url.scheme() == "http"),
        "the url must begin with https:// (or, with allow_private = true, http://)"
    );
    ensure!(url.username().is_empty() && url.password().is_none(), "the url must not have a name or password in it");
    let Some(host) = url.host_str() else { bail!("the url has no host") };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if let Ok(address) = address {
        ensure!(allow_private || is_global(address), "the address of the url is not global; see allow_private");
    }
    Ok(url)
}

/// Resolves names to their global addresses.
struct GlobalOnly;

impl Resolve for GlobalOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let global: Vec<SocketAddr> = all.filter(|address| is_global(address.ip())).collect();
            if global.is_empty() {
                return Err(io::Error::other("the host has no global address; see allow_private").into());
            }
            Ok(Box::new(global.into_iter()) as Addrs)
        })
    }
}

/// Returns whether an address belongs to a host on the Internet (IANA's registries of special-purpose addresses, RFC 6890). One that
/// embeds an IPv4 address is judged by that.
fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, _, _, e, f] = address.segments();
            let embedded = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_global_v4(Ipv4Addr::new(a, b, c, d))
            };
            match [a, b] {
                // NAT64 (RFC 6052) and 6to4 (RFC 3056).
                [0x64, 0xff9b] => c == 0 && d == 0 && embedded(e, f),
                [0x2002, high] => embedded(high, c),
                _ => is_global_v6(address),
            }
        }
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carrier-grade NAT (RFC 6598), protocol assignments (RFC 6890), 6to4 relays (RFC 7526) and benchmarks (RFC 2544).
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

/// Only 2000::/3 is assigned; within it, 2001::/23 and two networks of documentation are special.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    (0x2000..0x4000).contains(&a) && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_global() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001::1",
            "2001:10::1",
            "100::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.254",
            "::ffff:8.8.8.8",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860::8888",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_url_must_lead_to_the_internet_unless_others_are_allowed() {
        for url in [
            "http://example.com/",
            "ftp://example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://user@example.com/",
            "https://:p@example.com/",
            "https://169.254.169.254/latest",
            "example.com",
            "",
        ] {
            assert!(parse(url, false).is_err(), "{url}");
        }
        for url in ["https://example.com/hook?a=b", "https://1.1.1.1/", "https://localhost/"] {
            assert!(parse(url, false).is_ok(), "{url}");
        }
        for url in ["http://127.0.0.1:8000/", "http://[::1]/", "https://10.0.0.1/"] {
            assert!(parse(url, true).is_ok(), "{url}");
        }
        for url in ["ftp://127.0.0.1/", "http://user:p@127.0.0.1/"] {
            assert!(parse(url, true).is_err(), "{url}");
        }
        let error = parse("https://exa mple.com/secret-path", false).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_resolved() {
        let client = client(false).unwrap();
        let error = client.get("https://localhost:1/").send().await.unwrap_err();
        let chain = format!("{:?}", anyhow::Error::new(error));
        assert!(chain.contains("no global address"), "{chain}");
    }
}
