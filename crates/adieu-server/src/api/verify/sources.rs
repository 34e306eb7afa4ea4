//! Where `/verify` looks for a token: what a proxy says about the request that it asks about.

use adieu_axum::{BearerToken, Cookies, Guard, Place, RejectionReason, SameSite, TokenCookie};
use axum::{
    extract::OptionalFromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts},
};

use super::Route;
use crate::{
    config::{AllowedOrigin, Settings, TokenCookies, WebSocketToken},
    error::ApiError,
};

/// The method of the request that a proxy asks about.
const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
/// Its path and query.
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// Its host.
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The query parameter with a token (RFC 6750 §2.3).
const PARAMETER: &str = "access_token=";
/// What comes before the token in a subprotocol.
const PROTOCOL_PREFIX: &str = "access_token.";

/// The sources of tokens besides `Authorization`.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Sources {
    cookies: Option<TokenCookies>,
    web_socket: Vec<WebSocketToken>,
    same_site: Option<SameSite>,
    /// Those whose pages may open WebSockets with cookies.
    origins: Vec<String>,
}

impl Sources {
    pub(in crate::api) fn new(settings: &Settings) -> Self {
        let origins = settings.allowed_origins.iter().filter_map(|origin| match origin {
            AllowedOrigin::Exact(origin) => Some(origin.clone()),
            AllowedOrigin::Every => None,
        });
        let web_socket = settings.websocket_token.clone();
        let same_site = settings.send_cookies_from_every_site.then_some(SameSite::None);
        Self { cookies: settings.token_cookies, web_socket, same_site, origins: origins.collect() }
    }

    /// Lets a guard also look for tokens in cookies. It rejects two tokens in two places.
    ///
    /// # Errors
    /// Fails if the settings of the cookies are invalid.
    pub(in crate::api) fn guarded(&self, guard: Guard) -> Result<Guard, adieu::Error> {
        let cookies = match self.cookies {
            None => return Ok(guard),
            Some(TokenCookies::Adieu) => Cookies::new(),
            Some(TokenCookies::FlaskJwtExtended) => Cookies::flask_jwt_extended(),
        };
        let cookies = self.origins.iter().fold(cookies, Cookies::with_allowed_origin);
        let cookies = match self.same_site {
            None => cookies,
            Some(same_site) => {
                let change = |cookie: TokenCookie| cookie.with_same_site(same_site);
                cookies.with_access(change).with_refresh(change)
            }
        };
        Ok(guard.with_cookies(cookies)?.with_one_place())
    }

    /// Turns the request of a proxy into the one that it asks about, as far as that decides which token counts: its method, its
    /// host, whether it opens a WebSocket, and the token that a WebSocket brings, which becomes a bearer token.
    ///
    /// # Errors
    /// Fails if there is more than one token.
    pub(super) async fn adopt(&self, route: Route, parts: &mut Parts) -> Result<(), ApiError> {
        if self.cookies.is_none() && self.web_socket.is_empty() {
            return Ok(());
        }
        parts.method = method(route, parts);
        if !opens_web_socket(&parts.method, &parts.headers) {
            return Ok(());
        }
        // A proxy forwards neither `Upgrade` nor, often, the host.
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Some(host) = parts.headers.remove(HOST) {
            parts.headers.insert(header::HOST, host);
        }
        let mut tokens = self.web_socket_tokens(&parts.headers);
        let ambiguous = || adieu_axum::AuthRejection::from(RejectionReason::Ambiguous(Place::Query));
        // An empty one counts too: a proxy that removes only one of them would forward the other.
        if tokens.len() > 1 {
            return Err(ambiguous().into());
        }
        let Some(token) = tokens.pop().filter(|token| !token.is_empty()) else { return Ok(()) };
        let bearer = <BearerToken as OptionalFromRequestParts<()>>::from_request_parts(parts, &()).await?;
        if bearer.is_some() {
            return Err(ambiguous().into());
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| adieu::token::TokenError::Malformed("it is not text"))?;
        authorization.set_sensitive(true);
        parts.headers.insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// Returns the tokens, some possibly empty, that a WebSocket brings in the places that the settings allow.
    fn web_socket_tokens(&self, headers: &HeaderMap) -> Vec<String> {
        let mut tokens = Vec::new();
        if self.web_socket.contains(&WebSocketToken::Query) {
            for uri in headers.get_all(URI) {
                tokens.extend(in_query(uri.as_bytes()));
            }
        }
        if self.web_socket.contains(&WebSocketToken::Protocol) {
            for protocols in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
                tokens.extend(in_protocols(protocols.as_bytes()));
            }
        }
        tokens
    }
}

/// Returns the method of the request that a proxy asks about, or one that needs a CSRF value if any of the methods that the request
/// names does, or if the method is unknown. Envoy, at `/ext_authz`, asks with the method itself.
fn method(route: Route, parts: &Parts) -> Method {
    let forwarded =
        parts.headers.get_all(METHOD).iter().map(|value| Method::from_bytes(value.as_bytes()).unwrap_or(Method::POST));
    let mut method = (route != Route::Verify).then(|| parts.method.clone());
    for named in forwarded {
        method = Some(method.filter(|method| !method.is_safe()).unwrap_or(named));
    }
    let method = method.unwrap_or(Method::POST);
    if parts.method.is_safe() { method } else { parts.method.clone() }
}

/// Returns whether a request opens a WebSocket (RFC 6455 §4.1, RFC 8441 §4), by headers that proxies pass on.
fn opens_web_socket(method: &Method, headers: &HeaderMap) -> bool {
    let is_web_socket = |protocol: &HeaderValue| protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    let has_header = headers.contains_key(header::SEC_WEBSOCKET_VERSION)
        || headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.get_all(header::UPGRADE).iter().any(is_web_socket);
    has_header && [Method::GET, Method::CONNECT].contains(method)
}

/// Returns the tokens in the query of a path. The parameter must be spelled exactly, so that a proxy can remove it by its name. A token
/// needs no escapes.
fn in_query(uri: &[u8]) -> impl Iterator<Item = String> {
    // Some proxies pass a fragment on, which is no part of the query (RFC 3986 §3.5).
    let uri = uri.split(|byte| *byte == b'#').next().unwrap_or_default();
    let query = uri.iter().position(|byte| *byte == b'?').and_then(|at| uri.get(at + 1..)).unwrap_or_default();
    let pairs = query.split(|byte| *byte == b'&');
    let tokens = pairs.filter_map(|pair| pair.strip_prefix(PARAMETER.as_bytes()));
    tokens.map(|token| String::from_utf8_lossy(token).into_owned())
}

/// Returns the tokens among subprotocols (RFC 6455 §11.3.4).
fn in_protocols(protocols: &[u8]) -> impl Iterator<Item = String> {
    let protocols = protocols.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let tokens = protocols.filter_map(|protocol| protocol.strip_prefix(PROTOCOL_PREFIX.as_bytes()));
    tokens.map(|token| String::from_utf8_lossy(token).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::Request;
    use proptest::prelude::*;

    use super::*;

    /// As `max_token_bytes` allows.
    const LONGEST_HEAD: usize = 144 << 10;

    fn seen(route: Route, own: &str, forwarded: &[&str]) -> String {
        let mut request = Request::builder().method(own);
        for method in forwarded {
            request = request.header(METHOD, *method);
        }
        method(route, &request.body(()).unwrap().into_parts().0).to_string()
    }

    #[test]
    fn a_method_that_is_unknown_may_change_something() {
        let envoy = Route::ExtAuthz("/ext_authz");
        for (route, own, forwarded, expected) in [
            (Route::Verify, "GET", &["GET"][..], "GET"),
            (Route::Verify, "GET", &["HEAD"], "HEAD"),
            (Route::Verify, "GET", &[], "POST"),
            (Route::Verify, "GET", &["DELETE"], "DELETE"),
            (Route::Verify, "GET", &["GET", "DELETE"], "DELETE"),
            (Route::Verify, "GET", &["PUT", "GET"], "PUT"),
            (Route::Verify, "GET", &["GET, GET"], "POST"),
            (Route::Verify, "GET", &["get"], "get"),
            (Route::Verify, "GET", &["CONNECT"], "CONNECT"),
            (Route::Verify, "POST", &["GET"], "POST"),
            (envoy, "GET", &[], "GET"),
            (envoy, "PATCH", &[], "PATCH"),
            (envoy, "PATCH", &["GET"], "PATCH"),
            (envoy, "GET", &["PATCH"], "PATCH"),
        ] {
            assert_eq!(seen(route, own, forwarded), expected, "{own} {forwarded:?}");
        }
    }

    #[test]
    fn tokens_are_found_as_clients_write_them() {
        let query = |uri: &str| in_query(uri.as_bytes()).collect::<Vec<_>>();
        assert_eq!(query("/chat?room=1&access_token=a.b-c_d"), ["a.b-c_d"]);
        assert_eq!(query("/chat?access_token=a%2Eb&access%5Ftoken=c&access_token=d"), ["a%2Eb", "d"]);
        assert_eq!(query("/chat?xaccess_token=a&y=access_token=b&access_token=&Access_token=c"), [""]);
        assert_eq!(query("/access_token=a"), <[&str; 0]>::default());
        assert_eq!(query("/chat#?access_token=a"), <[&str; 0]>::default());
        assert_eq!(query("/chat?access_token=a#?access_token=b&access_token=c"), ["a"]);
        let protocols = |text: &str| in_protocols(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(protocols("chat , access_token.a.b-c\t,superchat"), ["a.b-c"]);
        assert_eq!(protocols("access_token.a,access_token.b"), ["a", "b"]);
        assert_eq!(protocols("access_token., access_token, Access_token.a, xaccess_token.a"), [""]);
    }

    proptest! {
        #[test]
        fn what_a_client_writes_is_found(before in "[a-z=&?%+]{0,9}", token in "[a-zA-Z0-9._-]{1,40}") {
            let uri = format!("/{}?x={}&access_token={token}", before.replace('?', ""), before.replace(['&', '='], ""));
            prop_assert_eq!(in_query(uri.as_bytes()).collect::<Vec<_>>(), [token.clone()]);
            let protocols = format!("{},access_token.{token}", before);
            prop_assert_eq!(in_protocols(protocols.as_bytes()).collect::<Vec<_>>(), [token]);
        }

        #[test]
        fn a_proxy_that_removes_the_parameter_by_its_name_removes_every_token(query in "([aA]ccess_token|x|%5F|[=&#?;.]){0,30}") {
            let uri = format!("/?{query}");
            let kept: Vec<_> = query.split('&').filter(|pair| !pair.starts_with(PARAMETER)).collect();
            prop_assert_eq!(in_query(format!("/?{}", kept.join("&")).as_bytes()).count(), 0, "{}", uri);
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            prop_assert!(in_query(&bytes).all(|token| !token.contains('&')));
            prop_assert!(in_protocols(&bytes).all(|token| !token.contains(',')));
        }
    }

    #[test]
    fn the_longest_head_is_read_in_no_time() {
        let started = Instant::now();
        for text in ["?", "&", "?access_token=&", ",", "access_token.,", " \t"]
            .map(|text| text.repeat(LONGEST_HEAD / text.len()))
        {
            let _tokens = in_query(text.as_bytes()).count() + in_protocols(text.as_bytes()).count();
        }
        // A quadratic one would take minutes.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
