//! Locations are searched in order; the first one with a token decides; two tokens in one location count as none.

use adieu_axum::{AccessToken, AnyToken, Cookies, Guard, Location, Place, only_in};
use axum::{
    Router,
    http::HeaderName,
    routing::{get, post},
};

use crate::support::{App, send, send_bytes};

fn router(app: &App, guard: Guard) -> Router {
    let body_layer = guard.read_bodies().with_max_bytes(4096);
    Router::new()
        .route("/place", get(async |token: AccessToken| format!("{:?}", token.place)))
        .route("/optional", get(async |token: Option<AccessToken>| format!("{}", token.is_some())))
        .route("/body", post(async |token: AccessToken, body: String| format!("{:?} {}", token.place, body.len())))
        .route("/any", post(async |token: AnyToken| format!("{:?} {}", token.place, token.token_type)))
        .layer(body_layer)
        .with_state(app.state(guard))
}

fn everywhere(app: &App) -> Guard {
    let places = [
        Location::bearer(),
        Location::header(HeaderName::from_static("x-token"), ""),
        Location::Query { name: "jwt".into(), prefix: "T-".into() },
        Location::json_body(),
    ];
    app.guard().with_locations(places).with_cookies(Cookies::new()).unwrap()
}

#[tokio::test]
async fn each_place_is_looked_into() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = &app.log_in().await.access;
    let bearer = format!("Bearer {token}");
    let cookie = format!("theme=dark; __Host-access_token={token}; a");
    let place = async |line: &str, headers: &[(&str, &str)]| send(&router, line, headers, "").await.text();
    assert_eq!(place("GET /place", &[("authorization", &bearer)]).await, "200 Header");
    assert_eq!(place("GET /place", &[("x-token", token)]).await, "200 Header");
    assert_eq!(place("GET /place", &[("cookie", &cookie)]).await, "200 AccessCookie");
    assert_eq!(place("GET /place", &[("cookie", "a=b"), ("cookie", &cookie)]).await, "200 AccessCookie");
    assert_eq!(place(&format!("GET /place?a=b&jwt=T-{token}"), &[]).await, "200 Query");
    assert_eq!(place(&format!("GET /place?%6Awt=T%2D{token}"), &[]).await, "200 Query");
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_passed_over() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = &app.log_in().await.access;
    for (line, header) in [
        (format!("GET /optional?jwt={token}"), ("accept", "*/*")),
        ("GET /optional?jwt=T-".into(), ("accept", "*/*")),
        ("GET /optional".into(), ("cookie", "__Host-access_token=")),
        ("GET /optional".into(), ("authorization", "Basic am9zZToxMjM0")),
        ("GET /optional".into(), ("x-token", "")),
    ] {
        assert_eq!(send(&router, &line, &[header], "").await.text(), "200 false", "{line} {header:?}");
    }
}

#[tokio::test]
async fn the_first_place_with_a_token_decides_also_when_it_is_bad() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = &app.log_in().await.access;
    let bearer = format!("Bearer {token}");
    let first = send(&router, "GET /place", &[("authorization", &bearer), ("x-token", "nonsense")], "").await;
    assert_eq!(first.text(), "200 Header");
    for line in ["GET /place", "GET /optional"] {
        let answer = send(&router, line, &[("authorization", "Bearer nonsense"), ("x-token", token)], "").await;
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains("invalid_token"), "{}", answer.body);
    }
}

#[tokio::test]
async fn two_tokens_in_one_place_are_none() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = &app.log_in().await.access;
    for (line, headers) in [
        ("GET /optional", vec![("x-token", token.as_str()), ("x-token", token)]),
        (&format!("GET /optional?jwt=T-{token}&jwt=T-{token}"), vec![]),
    ] {
        let answer = send(&router, line, &headers, "").await;
        assert_eq!(answer.status, 400, "{line} {headers:?}");
        assert!(answer.header("www-authenticate").contains("invalid_request"));
    }
}

/// If two members have one name, most parsers take the last, and some the first.
#[tokio::test]
async fn a_token_that_is_in_a_body_twice_is_none() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = &app.log_in().await.access;
    let json = [("content-type", "application/json")];
    for body in [
        format!(r#"{{"access_token":"{token}","access_token":"{token}"}}"#),
        format!(r#"{{"access_token":"{token}","access_token":"x"}}"#),
        format!(r#"{{"access_token":"","access\u005ftoken":"{token}"}}"#),
        format!(r#"{{"access_token":null,"a":1,"access_token":"{token}"}}"#),
    ] {
        let answer = send(&router, "POST /body", &json, &body).await;
        assert_eq!(answer.status, 400, "{body} {}", answer.text());
    }
    // Duplicates of other names are left to the handler.
    let body = format!(r#"{{"a":1,"access_token":"{token}","a":2}}"#);
    assert_eq!(send(&router, "POST /body", &json, &body).await.status, 200);
}

/// A neighbouring domain can set a cookie whose name only looks as if it began with `__Host-`.
#[tokio::test]
async fn the_name_of_a_cookie_is_what_it_is_byte_by_byte() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = app.log_in().await.access;
    for space in ["\u{a0}", "\u{85}", "\u{2000}", "\u{3000}", "\u{feff}", "\u{200b}"] {
        for name in [format!("{space}__Host-access_token"), format!("__Host-access_token{space}")] {
            let cookie = format!("{name}={token}");
            let answer = send(&router, "GET /optional", &[("cookie", &cookie)], "").await;
            assert_eq!(answer.text(), "200 false", "{space:?}");
            assert_eq!(send(&router, "GET /place", &[("cookie", &cookie)], "").await.status, 401);
        }
    }
    for name in ["__host-access_token", "__HOST-access_token", "\"__Host-access_token\"", "x__Host-access_token"] {
        let cookie = format!("{name}={token}");
        assert_eq!(send(&router, "GET /optional", &[("cookie", &cookie)], "").await.text(), "200 false", "{name}");
    }
    for cookie in [format!(" \t__Host-access_token\t = {token} "), format!("a;;=;__Host-access_token={token};b")] {
        let answer = send(&router, "GET /place", &[("cookie", &cookie)], "").await;
        assert_eq!(answer.text(), "200 AccessCookie", "{cookie}");
    }
}

#[tokio::test]
async fn one_byte_that_is_no_text_hides_no_other_cookie() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let token = app.log_in().await.access;
    for (before, after) in [(&b"name=Jos\xe9; "[..], &b""[..]), (b"", b"; \xff=\xfe"), (b"\xf0\x28=x;", b"")] {
        let cookie = [before, b"__Host-access_token=", token.as_bytes(), after].concat();
        assert_eq!(send_bytes(&router, "GET /place", "cookie", &cookie).await.text(), "200 AccessCookie");
    }
}

#[tokio::test]
async fn the_scheme_can_be_another_and_is_written_in_any_case() {
    let app = App::new();
    let guard = app.guard().with_locations([Location::header(HeaderName::from_static("x-auth"), "JWT")]);
    let router = router(&app, guard);
    let token = &app.log_in().await.access;
    for scheme in ["JWT", "jwt", "Jwt "] {
        let answer = send(&router, "GET /place", &[("x-auth", &format!("{scheme} {token}"))], "").await;
        assert_eq!(answer.text(), "200 Header");
    }
    for (name, value) in [("x-auth", format!("Bearer {token}")), ("authorization", format!("JWT {token}"))] {
        assert_eq!(send(&router, "GET /place", &[(name, &value)], "").await.status, 401);
    }
}

#[tokio::test]
async fn a_token_in_a_body_leaves_the_body_to_the_handler() {
    let app = App::new();
    let router = router(&app, everywhere(&app));
    let pair = app.log_in().await;
    let body = format!(r#"{{"access_token":"{}","name":"chair"}}"#, pair.access);
    let json = [("content-type", "application/json; charset=utf-8")];
    let answer = send(&router, "POST /body", &json, &body).await;
    assert_eq!(answer.text(), format!("200 JsonBody {}", body.len()));

    let refresh = format!(r#"{{"refresh_token":"{}"}}"#, pair.refresh);
    assert_eq!(send(&router, "POST /any", &json, &refresh).await.text(), "200 JsonBody refresh");
    assert_eq!(send(&router, "POST /any", &json, &body).await.text(), "200 JsonBody access");

    // A wrong content type, a value that is no token, a token that is no access token, or a body that is too long.
    for (content_type, body, status) in [
        ("text/plain", body.as_str(), 401),
        ("application/json", "[1]", 401),
        ("application/json", r#"{"access_token":""}"#, 401),
        ("application/json", r#"{"access_token":7}"#, 401),
        ("application/json", &refresh, 401),
        ("application/json", &"x".repeat(5000), 413),
    ] {
        assert_eq!(send(&router, "POST /body", &[("content-type", content_type)], body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn without_a_layer_that_reads_it_a_body_is_not_looked_into() {
    let app = App::new();
    let guard = app.guard().with_locations([Location::json_body()]);
    let router = Router::new()
        .route("/body", post(async |token: AccessToken, _: String| token.subject().to_string()))
        .with_state(app.state(guard));
    let body = format!(r#"{{"access_token":"{}"}}"#, app.log_in().await.access);
    assert_eq!(send(&router, "POST /body", &[("content-type", "application/json")], &body).await.status, 401);
}

#[tokio::test]
async fn a_route_can_have_places_of_its_own() {
    let app = App::new();
    let place = async |token: AccessToken| format!("{:?}", token.place == Place::Query);
    let router = Router::new()
        .route("/download", get(place))
        .layer(only_in([Location::query("token")]))
        .route("/profile", get(place))
        .with_state(app.state(app.guard()));
    let token = &app.log_in().await.access;
    let bearer = [("authorization", format!("Bearer {token}"))];
    let bearer = [(bearer[0].0, bearer[0].1.as_str())];
    assert_eq!(send(&router, &format!("GET /download?token={token}"), &[], "").await.text(), "200 true");
    assert_eq!(send(&router, "GET /download", &bearer, "").await.status, 401);
    assert_eq!(send(&router, &format!("GET /profile?token={token}"), &[], "").await.status, 401);
    assert_eq!(send(&router, "GET /profile", &bearer, "").await.text(), "200 false");
}
