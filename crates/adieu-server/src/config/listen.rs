//! Where the server listens, and which proxies it trusts there.

use std::{fmt, net::IpAddr, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;

use super::value::Value;

/// Before the path of a Unix socket, and alone for the peers of all of them.
const UNIX: &str = "unix:";

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and port of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Returns whether only processes on this machine can connect to it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

impl Value for ListenAddress {
    const WANTED: &'static str = r#"an address with a port, such as "127.0.0.1:8080""#;

    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            // Neither a relative path nor an abstract socket ("@name"), to which every process can connect.
            Some(path) => PathBuf::read(path).filter(|path| cfg!(unix) && path.is_absolute()).map(Self::Unix),
            None => SocketAddr::read(text).map(Self::Tcp),
        }
    }
}

impl Value for Vec<ListenAddress> {
    const WANTED: &'static str = r#"an address with a port, such as "127.0.0.1:8080" or "[::]:8080", or "unix:" and an absolute path, or a list of these"#;
    const IS_LIST: bool = true;

    fn read(text: &str) -> Option<Self> {
        text.split(',').map(|address| ListenAddress::read(address.trim())).collect()
    }
}

/// A proxy whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Every proxy in this network.
    Network(IpNet),
    /// Every process that connects to a Unix socket.
    UnixSocket,
}

impl TrustedProxy {
    /// Returns whether the proxy may have this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

impl From<IpNet> for TrustedProxy {
    fn from(network: IpNet) -> Self {
        Self::Network(network)
    }
}

impl Value for Vec<TrustedProxy> {
    const WANTED: &'static str = r#"a list of networks or "unix:", such as ["10.0.0.0/8", "::1/128", "unix:"]"#;
    const IS_LIST: bool = true;

    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::new());
        }
        let proxy = |text: &str| match text {
            UNIX => Some(TrustedProxy::UnixSocket),
            network => network.parse().ok().map(TrustedProxy::Network),
        };
        text.split(',').map(|text| proxy(text.trim())).collect()
    }
}

/// The mode of a Unix socket. Its owner may read and write: that excludes a mode in decimal, to which TOML turns `0o660`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// Returns the bits of the mode.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl Value for SocketMode {
    const WANTED: &'static str = r#"a mode in octal digits that lets the owner read and write, such as "660""#;

    fn read(text: &str) -> Option<Self> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600)?;
        text.starts_with(|first: char| first.is_ascii_digit()).then_some(Self(mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("127.0.0.1:8080, unix:/run/adieu/verify.sock", Some("127.0.0.1:8080 unix:/run/adieu/verify.sock")),
            ("unix:///run/a:b", Some("unix:///run/a:b")),
            ("", None),
            ("127.0.0.1:8080,", None),
            ("unix:", None),
            ("unix:verify.sock", None),
            ("unix:@adieu", None),
            ("/run/adieu.sock", None),
        ] {
            let addresses = Vec::<ListenAddress>::read(text);
            let addresses = addresses.map(|addresses| addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(addresses.map(|addresses| addresses.join(" ")).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn modes_are_read() {
        for (text, mode) in [("660", 0o660), ("0600", 0o600), ("666", 0o666), ("777", 0o777)] {
            assert_eq!(SocketMode::read(text), Some(SocketMode(mode)), "{text}");
        }
        // The last three are 0o660, 0o600 and 0o777 in decimal.
        for text in ["", "060", "460", "1660", "rw-rw----", "-660", "+660", "0o660", "432", "384", "511"] {
            assert_eq!(SocketMode::read(text), None, "{text}");
        }
    }
}
