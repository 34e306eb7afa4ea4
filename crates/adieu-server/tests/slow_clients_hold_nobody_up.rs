//! Clients that are slow, silent, half-open or never read are disconnected. One party can't take every connection, a thousand idle
//! connections do not stop a request, and a server that shuts down answers the requests in progress.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adieu_server::{
    address::Peer,
    config::TrustedProxy,
    error::ApiError,
    listen::{Bounds, Drained, raise_descriptor_limit, serve},
};
use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::{JoinHandle, yield_now},
    time::timeout,
};

/// Long enough never to expire in a test.
const NEVER: Duration = Duration::from_secs(3600);
/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(100);

const PATIENT: Bounds = Bounds {
    max_head_bytes: 32 * 1024,
    header_timeout: NEVER,
    keep_alive_timeout: NEVER,
    write_timeout: NEVER,
    drain_timeout: NEVER,
    max_connections: 10_000,
    trusted_proxies: Vec::new(),
    reserved_for: Vec::new(),
};

/// More than the buffers of a connection can hold.
const LARGE: usize = 8 * 1024 * 1024;

struct Server {
    address: SocketAddr,
    /// Notified when a request has reached `/held`.
    reached: Arc<Notify>,
    /// Lets the request at `/held` continue.
    release: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

impl Server {
    async fn start(bounds: Bounds) -> Self {
        let (reached, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let held = {
            let (reached, release) = (reached.clone(), release.clone());
            move || async move {
                reached.notify_one();
                release.notified().await;
                "answered"
            }
        };
        let router = Router::new()
            .route("/peer", get(|ConnectInfo(peer): ConnectInfo<Peer>| async move { peer.to_string() }))
            .route("/echo", post(|body: String| async move { body }))
            .route("/held", get(held))
            .route("/large", get(|| async { vec![b'x'; LARGE] }))
            .fallback(|| async { ApiError::NotFound });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let bounds = Arc::new(ArcSwap::from_pointee(bounds));
        let ended = tokio::spawn(serve(listener, router, bounds, async { stopped.await.unwrap() }));
        Self { address, reached, release, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    String::from_utf8(text).unwrap()
}

/// Reads up to and including `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

const CLOSING: &str = "host: adieu\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_and_knows_its_peer() {
    let server = Server::start(PATIENT).await;
    let stream = server.send(&format!("GET /peer HTTP/1.1\r\n{CLOSING}")).await;
    let peer = stream.local_addr().unwrap();
    assert!(rest(stream).await.ends_with(&format!("\r\n\r\n{peer}")));
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_disconnected() {
    let server = Server::start(Bounds { header_timeout: SOON, ..PATIENT }).await;
    assert_eq!(rest(server.connect().await).await, "");
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_is_disconnected() {
    let server = Server::start(Bounds { header_timeout: SOON, ..PATIENT }).await;
    let answer = rest(server.send("GET /peer HTTP/1.1\r\nhost: ad").await).await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_a_request_is_closed() {
    let server = Server::start(Bounds { keep_alive_timeout: SOON, ..PATIENT }).await;
    let answer = rest(server.send("POST /echo HTTP/1.1\r\nhost: adieu\r\ncontent-length: 2\r\n\r\nhi").await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    let answer = rest(server.send("GET /peer HTTP/1.1\r\nhost: adieu\r\n\r\n").await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Proxies keep connections open for longer than a client may take to send a head.
#[tokio::test]
async fn the_pause_between_two_requests_may_be_longer_than_a_head_may_take() {
    let server = Server::start(Bounds { header_timeout: SOON, ..PATIENT }).await;
    let mut idle = server.send("POST /echo HTTP/1.1\r\nhost: adieu\r\ncontent-length: 2\r\n\r\nhi").await;
    read_until(&mut idle, "\r\n\r\nhi").await;
    // In this time a connection that has sent nothing is disconnected, twice.
    for _ in 0..2 {
        assert_eq!(rest(server.connect().await).await, "");
    }
    idle.write_all(b"GET /peer HTTP/1.1\r\nhost: adieu\r\n\r\n").await.unwrap();
    let peer = idle.local_addr().unwrap().to_string();
    let answer = read_until(&mut idle, &peer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    idle.write_all(b"GET /pe").await.unwrap();
    assert_eq!(rest(idle).await, "", "half a head is not waited for");
}

/// The client requests more than fits into the buffers on both sides, repeatedly, and reads nothing.
#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let server = Server::start(Bounds { write_timeout: SOON, ..PATIENT }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all("GET /large HTTP/1.1\r\nhost: adieu\r\n\r\n".repeat(20).as_bytes()).await.unwrap();
    // The test sees that the server has closed the connection without reading from it: a write gets a reset.
    let hung_up = async {
        while stream.write_all(b" ").await.is_ok() {
            yield_now().await
        }
    };
    timeout(Duration::from_secs(20), hung_up).await.expect("the server lets go");
}

/// A client that reads slowly is not disconnected.
#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let server = Server::start(Bounds { write_timeout: Duration::from_secs(20), ..PATIENT }).await;
    let mut stream = server.send(&format!("GET /large HTTP/1.1\r\n{CLOSING}")).await;
    let (mut total, mut part) = (0, [0; 1024]);
    while let count @ 1.. = stream.read(&mut part).await.unwrap() {
        total += count;
        yield_now().await;
    }
    assert!(total > LARGE);
}

#[tokio::test]
async fn nobody_gets_more_than_a_share_of_the_connections() {
    let server = Server::start(Bounds { max_connections: 8, ..PATIENT }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(server.send("GET /held HTTP/1.1\r\nhost: adieu\r\n\r\n").await);
        server.reached.notified().await;
    }
    assert_eq!(rest(server.connect().await).await, "", "hung up on");
    let neighbour = TcpSocket::new_v4().unwrap();
    neighbour.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut neighbour = neighbour.connect(server.address).await.unwrap();
    neighbour.write_all(format!("GET /peer HTTP/1.1\r\n{CLOSING}").as_bytes()).await.unwrap();
    assert!(rest(neighbour).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// For example, an agent with too large a pool on the server's own machine, and its health check. There is no wait in between.
#[tokio::test]
async fn who_holds_a_whole_share_with_idle_connections_is_answered_on_another() {
    let server = Server::start(Bounds { max_connections: 8, ..PATIENT }).await;
    let mut idle = Vec::new();
    for start in ["", "GET /pe", "POST /echo HTTP/1.1\r\nhost: adieu\r\ncontent-length: 2\r\n\r\nhi"] {
        for _ in 0..8 {
            let mut stream = server.send(start).await;
            if start.ends_with("hi") {
                read_until(&mut stream, "\r\n\r\nhi").await;
            }
            idle.push(stream);
        }
        let answer = rest(server.send(&format!("GET /peer HTTP/1.1\r\n{CLOSING}")).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "beside {start:?}: {answer}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_gets_as_many_as_there_are() {
    let trusted_proxies = vec![TrustedProxy::Network("127.0.0.0/8".parse().unwrap())];
    let server = Server::start(Bounds { max_connections: 4, trusted_proxies, ..PATIENT }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(server.send("POST /echo HTTP/1.1\r\nhost: adieu\r\ncontent-length: 2\r\n\r\nhi").await);
        read_until(held.last_mut().unwrap(), "\r\n\r\nhi").await;
    }
}

/// Heads that never end, from more addresses than have room for a full share each.
#[tokio::test]
async fn strangers_do_not_lock_out_a_proxy_nor_this_machine_nor_each_other() {
    let trusted_proxies = vec![TrustedProxy::Network("127.0.0.9/32".parse().unwrap())];
    let reserved_for = vec!["127.0.0.1/32".parse().unwrap()];
    let server = Server::start(Bounds { max_connections: 16, trusted_proxies, reserved_for, ..PATIENT }).await;
    let mut half_open = Vec::new();
    for number in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("127.0.0.{}:0", 20 + number % 10).parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        // The server may have closed the connection.
        let _sent = stream.write_all(b"GET /peer HTTP/1.1\r\nhost").await;
        half_open.push(stream);
    }
    let asks = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        let _sent = stream.write_all(format!("GET /peer HTTP/1.1\r\n{CLOSING}").as_bytes()).await;
        rest(stream).await.starts_with("HTTP/1.1 200 OK\r\n")
    };
    assert!(asks("127.0.0.9").await, "a proxy");
    assert!(asks("127.0.0.1").await, "a health check");
    // Other clients replace those that have been idle for long enough.
    while !asks("127.0.0.77").await {}
    while !asks("127.0.0.20").await {}
}

#[test]
fn there_are_no_more_connections_than_files_may_be_open() {
    let connections = |descriptors| PATIENT.within(descriptors).max_connections;
    assert_eq!(connections(None), 10_000);
    assert_eq!(connections(Some(100_000)), 10_000);
    assert_eq!(connections(Some(1024)), 960);
    assert_eq!(connections(Some(3)), 1);
}

#[tokio::test]
async fn a_head_without_end_is_answered_431() {
    let server = Server::start(PATIENT).await;
    let mut stream = server.send("GET /peer HTTP/1.1\r\n").await;
    let filler = format!("x-filler: {}\r\n", "x".repeat(33 * 1024));
    let _cut_off = stream.write_all(filler.as_bytes()).await;
    let answer = read_until(&mut stream, "\r\n").await;
    assert_eq!(answer, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
}

/// The head arrives in one piece and is too long in different ways: one long header, many headers, or a long target.
#[tokio::test]
async fn a_head_over_the_limit_is_answered_431_also_when_it_comes_at_once() {
    let server = Server::start(PATIENT).await;
    let head = |headers: String| format!("GET /peer HTTP/1.1\r\nhost: adieu\r\n{headers}\r\n");
    for (bytes, status) in [(31 * 1024, 200), (33 * 1024, 431), (60 * 1024, 431), (200 * 1024, 431)] {
        let mut stream = server.connect().await;
        let _cut_off = stream.write_all(head(format!("x-filler: {}\r\n", "x".repeat(bytes))).as_bytes()).await;
        let answer = read_until(&mut stream, "\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
    }
    let mut stream = server.connect().await;
    let _cut_off = stream.write_all(head("x: y\r\n".repeat(5_000)).as_bytes()).await;
    assert!(read_until(&mut stream, "\r\n").await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_stop_a_request() {
    assert!(raise_descriptor_limit().is_none_or(|limit| limit > 2100), "both ends of each are ours");
    let server = Server::start(PATIENT).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(server.send("GET /pe").await);
    }
    let answer = rest(server.send(&format!("GET /peer HTTP/1.1\r\n{CLOSING}")).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn who_finds_every_connection_taken_waits_for_a_free_one() {
    let server = Server::start(Bounds { max_connections: 1, ..PATIENT }).await;
    let first = server.send(&format!("GET /held HTTP/1.1\r\n{CLOSING}")).await;
    server.reached.notified().await;
    let second = server.send(&format!("GET /held HTTP/1.1\r\n{CLOSING}")).await;

    // A request that was going to reach the handler would have reached it while another server answers a request.
    let other = Server::start(PATIENT).await;
    rest(other.send(&format!("GET /peer HTTP/1.1\r\n{CLOSING}")).await).await;
    assert!(timeout(Duration::ZERO, server.reached.notified()).await.is_err(), "the second waits");

    server.release.notify_one();
    assert!(rest(first).await.ends_with("answered"));
    server.reached.notified().await;
    server.release.notify_one();
    assert!(rest(second).await.ends_with("answered"));
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_answers_what_it_has_begun() {
    let server = Server::start(PATIENT).await;
    let mut idle = server.send("POST /echo HTTP/1.1\r\nhost: adieu\r\ncontent-length: 2\r\n\r\nhi").await;
    read_until(&mut idle, "\r\n\r\nhi").await;
    let silent = server.connect().await;
    let held = server.send("GET /held HTTP/1.1\r\nhost: adieu\r\n\r\n").await;
    server.reached.notified().await;

    server.stop.send(()).unwrap();
    assert_eq!(rest(idle).await, "", "closed at once");
    assert!(TcpStream::connect(server.address).await.is_err(), "no new connection is accepted");
    server.release.notify_one();
    let answer = rest(held).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("answered"), "{answer}");
    assert_eq!(rest(silent).await, "");
    assert_eq!(server.ended.await.unwrap(), Drained { abandoned: 0 });
}

#[tokio::test]
async fn what_takes_too_long_to_finish_is_abandoned() {
    let server = Server::start(Bounds { drain_timeout: SOON, ..PATIENT }).await;
    let held = server.send("GET /held HTTP/1.1\r\nhost: adieu\r\n\r\n").await;
    server.reached.notified().await;
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap(), Drained { abandoned: 1 });
    assert_eq!(rest(held).await, "");
}
