//! The requests of older clients for Rust, Python and Node, as they were recorded, get the answers that these clients can read.
//! `adieu-client` has the other half, today's client with the recorded answers.

use std::{fs, path::Path, time::Duration};

use adieu_client::wire::{self, FeedPage};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::adieu;

/// An answer: its media type and its body.
type Answer = (String, Vec<u8>);

fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adieu-client/tests/fixtures/exchanges");
    fs::read(folder.join(name)).unwrap()
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let media_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (media_type.to_owned(), bytes[end + 4..].to_vec())
}

fn page((media_type, body): &Answer) -> FeedPage {
    match media_type.as_str() {
        wire::JSON => wire::from_json(body).unwrap(),
        wire::BINARY => wire::from_binary(body).unwrap(),
        other => panic!("{other} is not what the client accepts"),
    }
}

/// What it says, but for the log and the times.
fn content(page: &FeedPage) -> (bool, bool, Vec<(String, String)>) {
    let target = |entry: &adieu::revocation::Revocation| {
        let value = serde_json::to_value(entry).unwrap();
        (entry.issuer.to_string(), format!("{} {}", value["kind"], value["id"]))
    };
    (page.page.complete, page.page.from_start, page.page.entries.iter().map(target).collect())
}

#[tokio::test]
async fn recorded_requests_are_still_answered_in_their_form() {
    for client in ["rust", "python", "node"] {
        let (node, [credentials]) = adieu().start_with_clients(["shop"]).await;
        let now = adieu::time::Clock::now(&adieu::time::SystemClock);
        let exp = now.plus(Duration::from_secs(900)).as_unix();
        let other = "https://other.example";
        let revoked = json!({"revocations": [
            {"token_id": "5d1f0a52-2f3b-4a40-9d0c-1d6f3f9b0e11", "expires_at": exp},
            {"session": "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22"},
            {"token_id": "a-jti", "issuer": other, "keep_until": exp},
            {"subject": "josé", "issuer": other},
        ]});
        assert_eq!(node.revoke(&credentials, "", revoked).await.0, 200);
        let mut cursor = String::new();
        for step in ["first", "next"] {
            let request = String::from_utf8(recorded(&format!("{client}.{step}.request"))).unwrap();
            let expected = answer(&recorded(&format!("{client}.{step}.answer")));
            let got = ask(node.address(), &request, &credentials.basic(), &cursor).await;
            let read = page(&got);
            assert_eq!((&got.0, content(&read)), (&expected.0, content(&page(&expected))), "{client} {step}");
            if got.0 == wire::JSON {
                let members = |body: &[u8]| serde_json::from_slice::<serde_json::Map<_, _>>(body).unwrap();
                let mut names = members(&expected.1);
                names.retain(|name, _| !members(&got.1).contains_key(name));
                assert!(names.is_empty(), "{client} {step} lacks {names:?}");
            }
            cursor = read.page.cursor.to_string();
            assert_eq!(node.revoke(&credentials, "", json!({"session": "another-session"})).await.0, 200);
        }
    }
}

/// Sends a recorded request, with the credentials and the cursor of today, and nothing else changed.
async fn ask(node: &str, request: &str, basic: &str, cursor: &str) -> Answer {
    let change = |line: &str| {
        let name = line.split(':').next().unwrap();
        if name.eq_ignore_ascii_case("authorization") {
            return format!("{name}: {basic}");
        }
        let Some((before, rest)) = line.split_once("after=") else { return line.to_owned() };
        let end = rest.find(['&', ' ']).unwrap();
        format!("{before}after={cursor}{}", &rest[end..])
    };
    let changed: Vec<String> = request.trim_end().lines().map(change).collect();
    let mut stream = TcpStream::connect(node).await.unwrap();
    stream.write_all((changed.join("\r\n") + "\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    answer(&bytes)
}
