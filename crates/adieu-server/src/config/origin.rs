//! Origins whose pages may use the API.

use std::net::Ipv6Addr;

use super::value::Value;

/// An origin whose pages may use the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Every origin.
    Every,
    /// This one, as a browser writes it in `Origin`.
    Exact(String),
}

impl Value for Vec<AllowedOrigin> {
    const WANTED: &'static str = r#"a list of origins as browsers write them, such as ["https://app.example", "http://localhost:5173"], or ["*"]"#;
    const IS_LIST: bool = true;

    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::new());
        }
        let origin = |text: &str| match text {
            "*" => Some(AllowedOrigin::Every),
            text => is_origin(text).then(|| AllowedOrigin::Exact(text.to_owned())),
        };
        let origins: Self = text.split(',').map(|text| origin(text.trim())).collect::<Option<_>>()?;
        (origins.len() == 1 || !origins.contains(&AllowedOrigin::Every)).then_some(origins)
    }
}

/// Returns whether a text is an `http` or `https` origin as a browser writes it (RFC 6454 §6.2): in lower case, with no default port and
/// nothing after the host. Another form would never match.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_number = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address),
        None => {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(allowed)
        }
    };
    is_host && port.is_none_or(|port| port != default_port && is_number(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_writes_is_an_origin() {
        for text in [
            "https://app.example",
            "http://localhost:5173",
            "https://127.0.0.1:8443",
            "http://[::1]:3000",
            "https://[2001:db8::1]",
            "https://xn--caf-dma.example",
            "http://a.example:443",
        ] {
            assert_eq!(Vec::read(text), Some(vec![AllowedOrigin::Exact(text.to_owned())]), "{text}");
        }
        for text in [
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://App.example",
            "HTTPS://app.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:",
            "https://app.example:0443",
            "https://app.example:65536",
            "https://user@app.example",
            "https://*.example",
            "https://[::0:1]",
            "https://a:b:1",
            "https://a b",
            "null",
            "*, https://app.example",
            "https://app.example,",
        ] {
            assert_eq!(Vec::<AllowedOrigin>::read(text), None, "{text}");
        }
        assert_eq!(Vec::read("*"), Some(vec![AllowedOrigin::Every]));
        assert_eq!(Vec::<AllowedOrigin>::read(""), Some(vec![]));
        assert_eq!(Vec::<AllowedOrigin>::read("https://a, https://b").map(|origins| origins.len()), Some(2));
    }
}
