//! Sends requests to servers, and measures the processor time of their processes.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::sleep_until,
};

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// An address and port.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    pub(crate) async fn open(address: &Address) -> Self {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
        };
        Self { stream, buffer: vec![0; 4096] }
    }

    /// Sends a request and returns the response.
    pub(crate) async fn ask(&mut self, request: &str) -> &str {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).await.unwrap();
            assert!(count > 0, "the server hung up");
            filled += count;
            if is_whole(&self.buffer[..filled]) {
                return str::from_utf8(&self.buffer[..filled]).unwrap();
            }
        }
    }
}

/// Returns whether this is a whole response.
fn is_whole(response: &[u8]) -> bool {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(head) = response.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let is_length = |name: &[u8]| name.eq_ignore_ascii_case(LENGTH);
    let length = response[..head].windows(LENGTH.len()).position(is_length).map_or(0, |start| {
        let digits = response[start + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    response.len() == head + 4 + length
}

/// A client that sends one request after the other.
pub(crate) trait Client: Send + 'static {
    /// Sends a request and checks the response. Returns false, without a request, if there is nothing more to send.
    fn ask(&mut self) -> impl Future<Output = bool> + Send;
}

/// A client that always sends the same request.
pub(crate) struct Repeating {
    connection: Connection,
    request: String,
    /// What the response begins with.
    status: String,
}

impl Repeating {
    /// Opens a connection for each token, which it sends to this path.
    pub(crate) async fn open(address: &Address, path: &str, tokens: &[String], status: u16) -> Vec<Self> {
        let mut clients = Vec::new();
        for token in tokens {
            let request = format!("GET {path} HTTP/1.1\r\nHost: adieu\r\nAuthorization: Bearer {token}\r\n\r\n");
            let (connection, status) = (Connection::open(address).await, format!("HTTP/1.1 {status} "));
            clients.push(Self { connection, request, status });
        }
        clients
    }
}

impl Client for Repeating {
    async fn ask(&mut self) -> bool {
        let response = self.connection.ask(&self.request).await;
        assert!(response.starts_with(&self.status), "{response}");
        true
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as the response to the previous one has arrived.
    Closed,
    /// So many per second, by all clients together, at equal intervals.
    Open(u32),
}

/// Lets all clients send requests for this long; returns how many were answered.
pub(crate) async fn send<C: Client>(clients: &mut Vec<C>, pace: Pace, time: Duration) -> usize {
    let (start, mut sending) = (Instant::now(), JoinSet::new());
    let total = clients.len();
    for (number, mut client) in clients.drain(..).enumerate() {
        sending.spawn(async move {
            let mut count: u32 = 0;
            while start.elapsed() < time {
                if let Pace::Open(rate) = pace {
                    let position = f64::from(count) * total as f64 + number as f64;
                    let due = Duration::from_secs_f64(position / f64::from(rate));
                    if due >= time {
                        break;
                    }
                    sleep_until((start + due).into()).await;
                }
                if !client.ask().await {
                    break;
                }
                count += 1;
            }
            (client, count as usize)
        });
    }
    let (returned, counts): (Vec<_>, Vec<usize>) = sending.join_all().await.into_iter().unzip();
    *clients = returned;
    counts.iter().sum()
}

/// Returns the processor time of all threads of these processes, in microseconds; only of threads with a name for which `is_counted`.
pub(crate) fn cpu_of(pids: &[u32], is_counted: impl Fn(&str) -> bool) -> f64 {
    let threads = pids.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).unwrap());
    let nanoseconds = threads.filter_map(|thread| {
        let thread = thread.unwrap().path();
        // A thread may end at any time.
        let name = fs::read_to_string(thread.join("comm")).ok()?;
        let times = fs::read_to_string(thread.join("schedstat")).ok()?;
        is_counted(name.trim()).then(|| times.split(' ').next().unwrap().parse::<f64>().unwrap())
    });
    nanoseconds.sum::<f64>() / 1000.0
}

/// Returns the processor time of these processes, in microseconds.
pub(crate) fn cpu(pids: &[u32]) -> f64 {
    cpu_of(pids, |_| true)
}

/// Returns the median.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
