//! Users of a node, and what they know about their logouts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adieu::{
    Issuer, Subject,
    time::{Clock as _, SystemClock},
    token::{Algorithm, Claims, SigningKey, TokenType, encode},
};
use anyhow::{Context as _, bail};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use fastrand::Rng;
use serde_json::{Value, json};
use test_servers::adieu::{ADIEU_PASSWORD, Tokens};

use crate::cut::Clock;

/// Users with sessions of the node, and applications that log their own tokens out at it.
const USERS: usize = 8;
const APPLICATIONS: usize = 8;
/// The name and the secret of these applications.
pub const APPLICATION: &str = "shop";
pub const SECRET: &[u8; 32] = b"a secret that only this test has";

/// A session of the node, or a token of an application.
#[derive(Debug, Clone)]
pub struct Session {
    /// What the line of its logout in the audit file contains.
    pub id: String,
    user: usize,
    /// When its client had it.
    began: u64,
    /// Its access tokens, with the time since when a client has them.
    access: Vec<(u64, String)>,
    refresh: Vec<(u64, String)>,
    /// When its end was requested, and when that was acknowledged.
    ending: Option<u64>,
    ended: Option<u64>,
    /// Whether it was ended with a token of its own.
    is_logout: bool,
}

/// What has to be so after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Live,
    Ended,
    /// Both are right, or it may not exist.
    Unknown,
}

impl Session {
    /// Returns what was known at a time.
    pub fn state(&self, at: u64) -> State {
        if self.ended.is_some_and(|ended| ended < at) {
            State::Ended
        } else if self.began < at && self.ending.is_none_or(|ending| ending > at) {
            State::Live
        } else {
            State::Unknown
        }
    }

    /// Returns the access tokens that a client had at that time.
    pub fn access(&self, at: u64) -> impl Iterator<Item = &str> {
        self.access.iter().filter(move |(since, _)| *since < at).map(|(_, token)| token.as_str())
    }

    /// Returns the last refresh token that a client had at that time.
    pub fn refresh(&self, at: u64) -> Option<&str> {
        self.refresh.iter().rfind(|(since, _)| *since < at).map(|(_, token)| token.as_str())
    }

    /// Returns whether its logout has to be in the audit file.
    pub fn has_line(&self, at: u64) -> bool {
        self.is_logout && self.state(at) == State::Ended
    }
}

/// What all clients know.
#[derive(Debug, Default)]
pub struct Ledger {
    pub clock: Clock,
    sessions: Mutex<Vec<Session>>,
}

impl Ledger {
    pub fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was not known at a time: the node goes on with what was on the disk then.
    pub fn rewind(&self, at: u64) {
        let mut sessions = self.sessions();
        sessions.retain(|session| session.state(at) != State::Unknown);
        for session in sessions.iter_mut() {
            session.access.retain(|(since, _)| *since < at);
            session.refresh.retain(|(since, _)| *since < at);
            if session.state(at) == State::Live {
                (session.ending, session.ended, session.is_logout) = (None, None, false);
            }
        }
    }

    /// Returns how many were ended with an acknowledged request.
    pub fn logouts(&self) -> usize {
        self.sessions().iter().filter(|session| session.ended.is_some()).count()
    }

    fn live(&self, user: usize) -> Vec<usize> {
        let is_live = |(_, session): &(usize, &Session)| session.user == user && session.ending.is_none();
        self.sessions().iter().enumerate().filter(is_live).map(|(index, _)| index).collect()
    }
}

/// Clients that run until they are stopped.
pub struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    /// Starts clients of the node at this URL.
    pub fn start(url: &str, ledger: &Arc<Ledger>, random: &mut Rng) -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        let client = |user| Client {
            url: url.to_owned(),
            http: http.clone(),
            ledger: Arc::clone(ledger),
            is_over: Arc::clone(&is_over),
            random: random.fork(),
            user,
        };
        let clients: Vec<_> = (0..USERS + APPLICATIONS).map(client).collect();
        Ok(Self { is_over, clients: clients.into_iter().map(|client| tokio::spawn(client.run())).collect() })
    }

    /// The node is about to end: no answer is expected from now on.
    pub fn expect_the_end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Returns whether one of them has failed.
    pub fn has_failed(&self) -> bool {
        self.clients.iter().any(|client| client.is_finished())
    }

    /// Stops them, and returns when their last requests were answered or have failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.expect_the_end();
        for client in self.clients {
            client.await??;
        }
        Ok(())
    }
}

/// Creates the users of all clients.
pub async fn register(url: &str) -> anyhow::Result<()> {
    for user in 0..USERS {
        let response = reqwest::Client::new().post(format!("{url}/register")).json(&credentials(user)).send().await?;
        anyhow::ensure!(response.status() == 201, "{response:?}");
    }
    Ok(())
}

fn credentials(user: usize) -> Value {
    json!({ "username": format!("user-{user}"), "password": ADIEU_PASSWORD })
}

struct Client {
    url: String,
    http: reqwest::Client,
    ledger: Arc<Ledger>,
    is_over: Arc<AtomicBool>,
    random: Rng,
    user: usize,
}

impl Client {
    async fn run(mut self) -> anyhow::Result<()> {
        while !self.is_over.load(Ordering::SeqCst) {
            if let Err(error) = self.act().await
                && !self.is_over.load(Ordering::SeqCst)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        if self.user >= USERS {
            return self.log_out_of_an_application().await;
        }
        let live = self.ledger.live(self.user);
        let choice = self.random.u8(..100);
        let Some(&session) = self.random.choice(&live).filter(|_| choice >= 25 || live.len() > 8) else {
            return self.log_in().await;
        };
        match choice {
            ..70 => self.refresh(session).await,
            70..90 => self.log_out(session, &[session], "this").await,
            90..95 => {
                let others: Vec<_> = live.iter().copied().filter(|other| *other != session).collect();
                self.log_out(session, &others, "others").await
            }
            _ => self.log_out(session, &live, "all").await,
        }
    }

    /// Returns the body of a success, and `None` if the node says that it cannot at the moment.
    async fn post(&self, path: &str, token: Option<&str>, body: Option<Value>) -> anyhow::Result<Option<Value>> {
        let mut request = self.http.post(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        match response.status().as_u16() {
            200 => Ok(Some(response.json().await?)),
            503 => Ok(None),
            status => bail!("{path}: {status}: {}", response.text().await?),
        }
    }

    async fn log_in(&mut self) -> anyhow::Result<()> {
        let Some(body) = self.post("/login", None, Some(credentials(self.user))).await? else { return Ok(()) };
        let tokens = tokens(&body)?;
        let began = self.ledger.clock.tick();
        self.ledger.sessions().push(Session {
            id: claim(&tokens.access, "sid")?,
            user: self.user,
            began,
            access: vec![(began, tokens.access)],
            refresh: vec![(began, tokens.refresh)],
            ending: None,
            ended: None,
            is_logout: false,
        });
        Ok(())
    }

    async fn refresh(&mut self, session: usize) -> anyhow::Result<()> {
        let token = self.ledger.sessions()[session].refresh.last().context("a refresh token")?.1.clone();
        let Some(body) = self.post("/refresh", Some(&token), None).await? else { return Ok(()) };
        let tokens = tokens(&body)?;
        let at = self.ledger.clock.tick();
        let mut sessions = self.ledger.sessions();
        sessions[session].access.push((at, tokens.access));
        sessions[session].refresh.push((at, tokens.refresh));
        Ok(())
    }

    /// Logs out with a token of this session, which ends these.
    async fn log_out(&mut self, session: usize, ends: &[usize], scope: &str) -> anyhow::Result<()> {
        let token = {
            let mut sessions = self.ledger.sessions();
            let sent = self.ledger.clock.tick();
            ends.iter().for_each(|session| sessions[*session].ending = Some(sent));
            let tokens = if self.random.bool() { &sessions[session].access } else { &sessions[session].refresh };
            tokens.last().context("a token")?.1.clone()
        };
        if self.post(&format!("/logout?scope={scope}"), Some(&token), None).await?.is_some() {
            let acknowledged = self.ledger.clock.tick();
            let mut sessions = self.ledger.sessions();
            for end in ends {
                (sessions[*end].ended, sessions[*end].is_logout) = (Some(acknowledged), *end == session);
            }
        }
        Ok(())
    }

    async fn log_out_of_an_application(&mut self) -> anyhow::Result<()> {
        let key = SigningKey::from_secret(Algorithm::HS256, SECRET)?;
        let subject = Subject::new(format!("customer-{}", self.random.u64(..)))?;
        let (issuer, hour) = (Issuer::new(APPLICATION)?, Duration::from_secs(3_600));
        let claims = Claims::new(issuer, subject, TokenType::Access, SystemClock.now(), hour);
        let token = encode(&key, &claims)?;
        let index = {
            let mut sessions = self.ledger.sessions();
            let sent = self.ledger.clock.tick();
            sessions.push(Session {
                id: claims.token_id.as_str().to_owned(),
                user: self.user,
                began: sent,
                access: vec![(0, token.clone())],
                refresh: Vec::new(),
                ending: Some(sent),
                ended: None,
                is_logout: true,
            });
            sessions.len() - 1
        };
        if self.post("/logout", Some(&token), None).await?.is_some() {
            let acknowledged = self.ledger.clock.tick();
            self.ledger.sessions()[index].ended = Some(acknowledged);
        }
        tokio::time::sleep(Duration::from_millis(self.random.u64(..100))).await;
        Ok(())
    }
}

fn tokens(body: &Value) -> anyhow::Result<Tokens> {
    let text = |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("{body}"));
    Ok(Tokens { access: text("access_token")?, refresh: text("refresh_token")? })
}

fn claim(token: &str, name: &str) -> anyhow::Result<String> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).context("a token")?)?;
    let claims: BTreeMap<String, Value> = serde_json::from_slice(&payload)?;
    Ok(claims.get(name).and_then(Value::as_str).context("a claim")?.to_owned())
}
