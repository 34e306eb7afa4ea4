//! The node: an HTTP server on loopback that answers as a case says, and checks the requests.

mod http;

use std::{
    collections::HashSet,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::{
    case::{Answer, BOUND, NODE},
    page::{Entry, Form, Page},
};
use http::Request;

pub(crate) const CLIENT: &str = "conformance";
pub(crate) const SECRET: &str = "Lm9tWc4vZ0hYkqXJ";

/// What is said of a follower that ends before its case does.
pub(crate) const ENDED: &str = "it has ended";

/// The delay before a wrong page, so that a follower that accepts it does not spin.
const WRONG_DELAY: Duration = Duration::from_millis(20);

/// Where a redirect leads.
const ELSEWHERE: &str = "/elsewhere";

/// Beyond the limit of 16 MiB.
const BOMB_BYTES: usize = 64 << 20;

pub(crate) struct Node {
    shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) answer: Answer,
    pub(crate) log: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) page_size: usize,
    pub(crate) age_ms: u64,
    pub(crate) pruned_through: i128,
    /// The requests since the last `Serve`.
    pub(crate) requests: u64,
    /// The position that the last request acknowledged, if it is one of this log.
    pub(crate) acknowledged: u64,
    /// How many requests followed the first page that had everything since the last change of the log.
    told: Option<u64>,
    /// The latest moment as of which a good page claims to be complete.
    pub(crate) complete_at: Option<Instant>,
    /// The form that the follower accepts, once it has sent a request.
    pub(crate) form: Option<Form>,
    /// What the follower did wrong.
    pub(crate) mistakes: Vec<String>,
    follower: Option<String>,
    sent: HashSet<String>,
    wrong: HashSet<String>,
    closing: bool,
}

impl Node {
    pub(crate) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.state().page_size = 1_000;
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.state().closing {
                    break;
                }
                let shared = Arc::clone(&accepting);
                // An error of a connection is the follower's choice, and no error of the node.
                thread::spawn(move || stream.and_then(|stream| shared.serve(&stream)));
            }
        });
        Ok(Self { shared, address })
    }

    /// Changes what the log says.
    pub(crate) fn change_log(&self, change: impl FnOnce(&mut State)) {
        self.change(|state| {
            state.told = None;
            change(state);
        });
    }

    /// Changes the state. Requests that are held are answered again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }

    /// Waits until the state is as `condition` says, or the follower made a mistake. Returns whether that was within `limit`.
    pub(crate) fn wait(&self, limit: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let is_over = |state: &mut State| !condition(state) && state.mistakes.is_empty();
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), limit, is_over);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns a function that reports that the follower has ended, so that nothing waits for it.
    pub(crate) fn when_ended(&self) -> impl FnOnce() + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            shared.state().mistakes.push(ENDED.to_owned());
            shared.changed.notify_all();
        }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.change(|state| state.closing = true);
        // So that the thread that accepts connections ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        while let Some(request) = http::read(stream)? {
            let arrived = Instant::now();
            if !self.answer(stream, &request, arrived)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the connection remains open.
    fn answer(&self, stream: &TcpStream, request: &Request, arrived: Instant) -> std::io::Result<bool> {
        let mut state = self.state();
        if request.path != "/revocations" || request.method != "GET" {
            if request.path == ELSEWHERE {
                state.mistakes.push("it follows a redirect".to_owned());
            }
            drop(state);
            self.changed.notify_all();
            return http::status(stream, 404).map(|()| true);
        }
        let Some(form) = state.take_note(request) else {
            drop(state);
            self.changed.notify_all();
            return http::status(stream, 406).map(|()| true);
        };
        self.changed.notify_all();
        let after = request.after();
        let wait = Duration::from_millis(request.number("wait").unwrap_or(0).min(30_000));
        loop {
            if state.closing {
                return Ok(false);
            }
            let due = match state.answer {
                Answer::Log if state.page(after).is_news(after) => arrived,
                Answer::Log => arrived + wait,
                Answer::Late(delay) => arrived + delay,
                Answer::Wrong(..) | Answer::Endless | Answer::Bomb => arrived + WRONG_DELAY,
                Answer::Silent => arrived + Duration::from_secs(3_600),
                _ => arrived,
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let answer = state.answer;
        let mut page = state.page(after);
        let is_true = matches!(answer, Answer::Log | Answer::Late(_) | Answer::Valid(_));
        match answer {
            Answer::Wrong(change, _) => {
                page.position += 1_000;
                change(&mut page, after.map(|(_, position)| position));
            }
            Answer::Endless => {
                page.complete = false;
                page.position = after.map_or(0, |(_, position)| position) + 1;
                page.from_start = after.is_none();
            }
            Answer::Bomb => page.position += 1_000,
            _ => {}
        }
        state.send(&page, answer, is_true.then_some(arrived));
        drop(state);
        let body = || page.encode(form);
        let whole = |body: &[u8], encoding| http::page(stream, form, body, encoding).map(|()| true);
        match answer {
            Answer::Log | Answer::Late(_) | Answer::Endless => whole(&body(), None),
            Answer::Valid(change) | Answer::Wrong(_, change) => whole(&change(body(), form), None),
            Answer::Bomb => {
                let mut content = body();
                content.resize(content.len() + BOMB_BYTES, b' ');
                whole(&http::gzip(&content)?, Some("gzip"))
            }
            Answer::Status(status) => http::status(stream, status).map(|()| true),
            Answer::Redirect(status) => http::redirect(stream, status, ELSEWHERE).map(|()| true),
            Answer::Silent | Answer::Closed => Ok(false),
            Answer::CutOff => {
                let body = body();
                http::head(stream, form, body.len(), None)?;
                let mut out = stream;
                out.write_all(body.get(..body.len() / 2).unwrap_or_default())?;
                Ok(false)
            }
            Answer::DrippingBody => {
                http::head(stream, form, 1 << 20, None)?;
                self.drip(stream, &body())
            }
            Answer::DrippingHead => self.drip(stream, b"HTTP/1.1 200 OK\r\nX-Padding: "),
        }
    }

    /// Writes one byte after another, and then spaces, until the follower closes the connection.
    fn drip(&self, mut stream: &TcpStream, bytes: &[u8]) -> std::io::Result<bool> {
        for byte in bytes.iter().copied().chain(std::iter::repeat(b' ')) {
            if self.state().closing {
                break;
            }
            stream.write_all(&[byte])?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

impl State {
    fn log_id(&self) -> String {
        format!("log-{}", self.log)
    }

    pub(crate) fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether the follower must have applied everything. One that requests a page before it has applied the last one
    /// acknowledges the last one later.
    pub(crate) fn is_known(&self) -> bool {
        self.told.is_some_and(|requests| requests >= 2) && self.acknowledged == self.end()
    }

    /// Returns the page after a cursor, as a good node would.
    fn page(&self, after: Option<(&str, u64)>) -> Page {
        let after = after.filter(|(log, position)| *log == self.log_id() && *position <= self.end());
        let start = usize::try_from(after.map_or(0, |(_, position)| position)).unwrap_or(usize::MAX);
        let rest = self.entries.get(start..).unwrap_or_default();
        let taken = rest.len().min(self.page_size);
        Page {
            log: self.log_id(),
            position: (start + taken) as u64,
            complete: taken == rest.len(),
            from_start: after.is_none(),
            age_ms: self.age_ms,
            pruned_through: self.pruned_through,
            issuer: NODE.to_owned(),
            max_staleness_ms: BOUND.as_millis() as u64,
            entries: rest.iter().take(taken).filter(|entry| entry.lapses_at > self.pruned_through).cloned().collect(),
        }
    }

    /// Records what a page that is about to be sent means. `good` is the moment of the request if the page is true.
    fn send(&mut self, page: &Page, answer: Answer, good: Option<Instant>) {
        if let Some(arrived) = good.filter(|_| page.complete) {
            self.told.get_or_insert(0);
            // Earlier than any moment on this clock is as good as never.
            let complete_at = arrived.checked_sub(Duration::from_millis(self.age_ms));
            self.complete_at = self.complete_at.max(complete_at);
        }
        if good.is_some() || matches!(answer, Answer::Endless) {
            self.sent.insert(page.cursor());
        } else if !self.sent.contains(&page.cursor()) {
            self.wrong.insert(page.cursor());
        }
    }

    /// Checks a request. Returns the form of its answer, if there is one.
    fn take_note(&mut self, request: &Request) -> Option<Form> {
        self.requests += 1;
        self.told = self.told.map(|requests| requests + 1);
        let mut mistakes = Vec::new();
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT}:{SECRET}")));
        if request.header("authorization") != Some(&expected) {
            mistakes.push("a request lacks the credentials".to_owned());
        }
        for name in ["wait", "max_staleness", "applied"] {
            if request.query(name).is_some() && request.number(name).is_none() {
                mistakes.push(format!("the parameter `{name}` is not a number"));
            }
        }
        if request.number("wait").is_some_and(|wait| wait > 30_000) {
            mistakes.push("the parameter `wait` is more than 30000".to_owned());
        }
        let bound = request.number("max_staleness");
        if bound.is_some() != request.query("follower").is_some() {
            mistakes.push("`follower` and `max_staleness` are sent with each other, or not at all".to_owned());
        }
        if bound.is_some_and(|bound| u128::from(bound) != BOUND.as_millis()) {
            mistakes.push("the parameter `max_staleness` is not the bound of the verifier".to_owned());
        }
        if let Some(name) = request.query("follower") {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !(1..=64).contains(&name.len()) || !name.chars().all(is_valid) {
                mistakes.push("the parameter `follower` has other characters, or another length".to_owned());
            }
            if self.follower.get_or_insert_with(|| name.to_owned()) != name {
                mistakes.push("the parameter `follower` changes".to_owned());
            }
        }
        let after = request.query("after");
        if let Some(after) = after.filter(|after| !self.sent.contains(*after)) {
            mistakes.push(match self.wrong.contains(after) {
                true => "it goes on after a page that it must refuse".to_owned(),
                false => format!("the parameter `after` is {after:?}, which no page had"),
            });
        }
        let place = request.after();
        let applied = request.number("applied").unwrap_or_else(|| place.map_or(0, |(_, position)| position));
        if applied > place.map_or(0, |(_, position)| position) {
            mistakes.push("the parameter `applied` is ahead of `after`".to_owned());
        }
        self.acknowledged = place.filter(|(log, _)| *log == self.log_id()).map_or(0, |_| applied);
        let form = Form::accepted_by(request.header("accept"));
        if form.is_none() {
            mistakes.push("it accepts neither JSON nor the binary form".to_owned());
        }
        self.form = form;
        self.mistakes.extend(mistakes);
        form
    }
}

impl Page {
    /// Whether a node answers at once with this page.
    fn is_news(&self, after: Option<(&str, u64)>) -> bool {
        self.from_start || after.is_none_or(|(_, position)| position != self.position)
    }
}
