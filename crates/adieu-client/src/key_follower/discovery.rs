//! The metadata of an OpenID provider or authorization server: where it publishes its keys.

use http::{Request, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;

use adieu::{Error, token::Algorithm};

use super::{MAX_DOCUMENT_BYTES, REQUEST_TIMEOUT};
use crate::transport::{Transport, parse_url, send_within};

/// Where an issuer publishes its keys.
#[derive(Debug, PartialEq)]
pub(super) struct Published {
    pub(super) keys: Url,
    /// The algorithm of RSA keys that name none: the only one that the metadata lists, or RS256.
    pub(super) rsa: Algorithm,
}

/// The members that are read (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
}

/// Returns the URL of the metadata of an issuer (OpenID Connect Discovery 1.0 §4).
pub(super) fn metadata_url(issuer: &str) -> Result<Url, Error> {
    let url = parse_url(issuer)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::setting("discovery", "an issuer has neither a query nor a fragment"));
    }
    parse_url(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

/// Reads the metadata of an issuer, of a bounded size within a bounded time. Redirects are not followed.
pub(super) async fn discover(transport: &dyn Transport, issuer: &str) -> Result<Published, Error> {
    let url = metadata_url(issuer)?;
    let request = Request::builder()
        .uri(url.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|error| Error::setting("discovery", error.to_string()))?;
    let answer = send_within(transport, request, MAX_DOCUMENT_BYTES, REQUEST_TIMEOUT).await?;
    match answer.status() {
        StatusCode::OK => read(answer.body(), issuer, &url).map_err(Error::unavailable),
        status => Err(Error::unavailable(format!("the metadata was answered with status {}", status.as_u16()))),
    }
}

/// Reads metadata that was found at `url`.
fn read(body: &[u8], issuer: &str, url: &Url) -> Result<Published, String> {
    let metadata: Metadata =
        serde_json::from_slice(body).map_err(|error| format!("the metadata is not valid: {error}"))?;
    // Otherwise one issuer could speak for another (§4.3).
    if metadata.issuer != issuer {
        return Err("the metadata is of another issuer".into());
    }
    let keys = parse_url(&metadata.jwks_uri).map_err(|error| format!("jwks_uri: {error}"))?;
    // The provider must not make this process send requests into a network that it can't reach itself: the keys are at the host of the
    // metadata, or at a host that has a name and a certificate.
    let is_same_host = keys.scheme() == url.scheme() && keys.host() == url.host() && keys.port() == url.port();
    let has_certificate = keys.scheme() == "https" && keys.domain().is_some_and(|name| name.contains('.'));
    if !is_same_host && !has_certificate {
        return Err("jwks_uri must be at the host of the metadata, or an https URL with a host name".into());
    }
    let is_rsa = |name: &&String| name.starts_with("RS") || name.starts_with("PS");
    let mut rsa =
        metadata.id_token_signing_alg_values_supported.iter().filter(is_rsa).filter_map(|name| name.parse().ok());
    let rsa = match (rsa.next(), rsa.next()) {
        (Some(only), None) => only,
        _ => Algorithm::RS256,
    };
    Ok(Published { keys, rsa })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example/tenant";

    fn read_with(issuer: &str, jwks_uri: &str, algorithms: &[&str]) -> Result<Published, String> {
        let metadata = serde_json::json!({
            "issuer": issuer, "jwks_uri": jwks_uri, "id_token_signing_alg_values_supported": algorithms,
        });
        read(metadata.to_string().as_bytes(), ISSUER, &metadata_url(ISSUER).unwrap())
    }

    #[test]
    fn keys_are_at_the_host_of_the_metadata_or_at_one_with_a_name_and_a_certificate() {
        for url in ["https://login.example/keys", "https://keys.example/certs", "https://keys.example:8443/certs"] {
            assert_eq!(read_with(ISSUER, url, &[]).unwrap().keys.as_str(), url);
        }
        for url in [
            "http://login.example/keys",
            "https://169.254.169.254/keys",
            "https://[::1]/keys",
            "https://127.1/keys",
            "https://localhost/keys",
            "http://keys.example/certs",
            "file:///etc/passwd",
            "https://user:password@keys.example/certs",
            "keys",
        ] {
            assert!(read_with(ISSUER, url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn metadata_of_another_issuer_or_without_its_members_is_rejected() {
        for issuer in ["https://login.example/tenant/", "https://login.example", "https://other.example"] {
            assert!(read_with(issuer, "https://login.example/keys", &[]).is_err(), "{issuer}");
        }
        for body in [&b""[..], b"[]", b"{}", br#"{"issuer":"https://login.example/tenant"}"#, b"<html>"] {
            assert!(read(body, ISSUER, &metadata_url(ISSUER).unwrap()).is_err());
        }
    }

    #[test]
    fn an_rsa_key_without_an_algorithm_has_the_only_one_that_is_listed_or_rs256() {
        let rsa = |algorithms| read_with(ISSUER, "https://login.example/keys", algorithms).unwrap().rsa;
        assert_eq!(rsa(&["ES256", "PS256", "none"]), Algorithm::PS256);
        assert_eq!(rsa(&["PS256", "RS256"]), Algorithm::RS256, "which every provider supports (§3)");
        assert_eq!(rsa(&["HS256"]), Algorithm::RS256);
    }

    #[test]
    fn the_metadata_is_below_the_issuer() {
        let url = |issuer| metadata_url(issuer).map(|url| url.to_string());
        assert_eq!(url(ISSUER).unwrap(), "https://login.example/tenant/.well-known/openid-configuration");
        assert_eq!(url("https://login.example/").unwrap(), "https://login.example/.well-known/openid-configuration");
        for wrong in ["login.example", "https://login.example/?a", "https://login.example/#a", "ftp://login.example"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
