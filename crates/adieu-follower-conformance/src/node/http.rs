//! As much of HTTP/1.1 as a follower needs, with control over each byte.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use flate2::{Compression, write::GzEncoder};

use crate::page::Form;

/// More than the head of any reasonable request.
const MAX_HEAD: usize = 16 << 10;

pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    query: Vec<(String, String)>,
    /// With names in lower case.
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Returns the log and the position of the cursor.
    pub(super) fn after(&self) -> Option<(&str, u64)> {
        let (log, position) = self.query("after")?.rsplit_once('.')?;
        Some((log, position.parse().ok()?))
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Reads the head of a request; `None` if the follower has closed the connection. The request of a follower has no body.
pub(super) fn read(mut stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD || stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs.map(|(name, value)| (decode(name), decode(value))).collect(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
    }))
}

/// Decodes a part of a query.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or(0) as u8;
                digit() << 4 | digit()
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn head(
    mut stream: &TcpStream,
    form: Form,
    length: usize,
    encoding: Option<&'static str>,
) -> std::io::Result<()> {
    let encoding = encoding.map_or_else(String::new, |encoding| format!("Content-Encoding: {encoding}\r\n"));
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nCache-Control: no-store\r\n{encoding}Content-Length: {length}\r\n\r\n",
        form.media_type()
    )
}

pub(super) fn page(
    mut stream: &TcpStream,
    form: Form,
    body: &[u8],
    encoding: Option<&'static str>,
) -> std::io::Result<()> {
    head(stream, form, body.len(), encoding)?;
    stream.write_all(body)
}

pub(super) fn status(mut stream: &TcpStream, status: u16) -> std::io::Result<()> {
    let body = if status == 204 { "" } else { r#"{"code":0,"status":"error","message":"not today"}"# };
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    write!(stream, "HTTP/1.1 {status} Status\r\n{headers}{body}")
}

pub(super) fn redirect(mut stream: &TcpStream, status: u16, location: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

pub(super) fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    encoder.finish()
}
