//! An alias that was acknowledged, or written from a token, is known after `kill -9`.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

use crate::adieu;

const ISSUER: &str = "https://login.example";
const ENDPOINT: &str = "https://adieu.example/global-token-revocation";
const SECRET: &[u8] = b"a secret of at least 256 bits......";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn signed(typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.to_owned()), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let issuer = format!(
        r#"[{{ name = "{ISSUER}", secret_file = "{}", events = ["global-token-revocation"], event_audience = ["{ENDPOINT}"], alias_claims = ["email"] }}]"#,
        secret.display()
    );
    let server = adieu(&folder.path().join("data")).with("ADIEU_TRUSTED_ISSUER", issuer).with_metrics();
    let (mut server, [till]) = server.start_with_clients(["till"]).await;
    let token = |subject: &str, email: &str| {
        signed(
            "at+jwt",
            &json!({"iss": ISSUER, "sub": subject, "jti": subject, "iat": now() - 60, "exp": now() + 900, "email": email, "email_verified": true}),
        )
    };
    let (jose, ana) = (token("jose", "jose@example.com"), token("ana", "ana@example.com"));

    assert_eq!(server.verify(&ana).await.0, 204);
    server
        .becomes("the alias of the token is written", async || {
            server.metrics().await.lines().any(|line| line == "adieu_aliases_recorded_total 1")
        })
        .await;
    let alias = json!({"issuer": ISSUER, "subject": "jose", "format": "email", "value": "office@example.com"});
    let added = server.request(Method::POST, "/aliases").basic_auth(&till.name, Some(&till.secret)).json(&alias).send();
    assert_eq!(added.await.unwrap().status().as_u16(), 200);
    server.kill();
    server.start_again(|_| ()).await;

    let request = signed(
        "global-token-revocation+jwt",
        &json!({"iss": ISSUER, "sub": "client", "aud": ENDPOINT, "jti": "1", "iat": now(), "exp": now() + 60}),
    );
    for (email, token, status) in
        [("office@example.com", &jose, 204), ("ana@example.com", &ana, 204), ("jose@example.com", &jose, 404)]
    {
        let body = json!({"sub_id": {"format": "email", "email": email}});
        let (answer, body) = server.ask(Method::POST, "/global-token-revocation", Some(&request), Some(body)).await;
        assert_eq!(answer, status, "{body}");
        assert_eq!(server.verify(token).await.0, 401);
    }
}
