//! No service accepts a token later than `max_staleness` after its logout was acknowledged, whatever the network and the processes do;
//! and after the faults end, the service recovers.
//!
//! `ADIEU_SCHEDULES` sets how many schedules run, thousands in `scripts/prove models`; `ADIEU_SEED` runs a single one and prints its events.
#![allow(clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adieu::{
    Subject,
    revocation::{Revocation, RevocationLog, Target},
    token::{Algorithm, Claims, SigningKey, TokenError, TokenType, encode},
};
use tokio::time::Instant;

use crate::{
    simulation::{
        Dice, MachineClock, Signal, Story,
        log::Durable,
        network::{Link, Messages, Process, Weather},
        node::{Node, Origin, Relay},
        service::{SECRET, Service},
    },
    support::{MAX_STALENESS, NOON, issuer},
};

const SCHEDULES: u64 = 700;
const FIRST_SEED: u64 = 1;
const TOKENS: usize = 24;
/// How long faults last, and the interval between events.
const TROUBLE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(43);
/// After the faults end, a service may still wait for the response to its first request.
const RECOVERY: Duration = Duration::from_secs(13);

struct Token {
    text: String,
    revocation: Revocation,
}

/// Made once for all schedules; the last one is never logged out.
static TOKEN: LazyLock<Vec<Token>> = LazyLock::new(|| {
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let one = |_| {
        let issued_at = NOON.minus(Duration::from_secs(10));
        let claims = Claims::new(
            issuer(),
            Subject::new("jose").unwrap(),
            TokenType::Access,
            issued_at,
            Duration::from_secs(3_600),
        );
        Token {
            text: encode(&key, &claims).unwrap(),
            revocation: Revocation {
                issuer: issuer(),
                target: Target::Token { id: claims.token_id.clone(), expires_at: Some(claims.expires_at) },
                lapses_at: Revocation::lapse_for(claims.expires_at),
            },
        }
    };
    (0..TOKENS).map(one).collect()
});

#[test]
fn in_hundreds_of_schedules() {
    if let Ok(seed) = env::var("ADIEU_SEED") {
        let seed = seed.parse().expect("a number");
        let outcome = run(seed);
        println!("{}\n{outcome:?}", outcome.story);
        return;
    }
    let count = env::var("ADIEU_SCHEDULES").map_or(SCHEDULES, |text| text.parse().expect("a number"));
    let next = AtomicU64::new(FIRST_SEED);
    let total = Mutex::new(Outcome::default());
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= FIRST_SEED + count {
                        break;
                    }
                    total.lock().unwrap().add(&run(seed));
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{count} schedules, seeds {FIRST_SEED} to {}: {total:?}", FIRST_SEED + count - 1);
    // The result means nothing if the schedules did not test it.
    assert!(total.checks_past_the_bound > count * 50 && total.refused_as_stale > count && total.accepted > count * 50);
}

/// Otherwise a printed seed would be useless.
#[test]
fn a_seed_tells_the_same_story_again() {
    for seed in [3, 716] {
        let (once, again) = (run(seed), run(seed));
        assert_eq!((once.story.as_str(), format!("{once:?}")), (again.story.as_str(), format!("{again:?}")));
    }
}

/// The events of a schedule.
#[derive(Default)]
struct Outcome {
    logouts: u64,
    checks_past_the_bound: u64,
    refused_as_stale: u64,
    accepted: u64,
    story: String,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} logouts, {} checks past the bound, {} refusals for staleness, {} live tokens accepted",
            self.logouts, self.checks_past_the_bound, self.refused_as_stale, self.accepted
        )
    }
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.logouts += other.logouts;
        self.checks_past_the_bound += other.checks_past_the_bound;
        self.refused_as_stale += other.refused_as_stale;
        self.accepted += other.accepted;
    }
}

fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Inside, where the time is paused.
    runtime.block_on(async { World::new(seed).run().await })
}

struct World {
    seed: u64,
    dice: Dice,
    started: Instant,
    story: Story,
    origin: Arc<Origin>,
    relays: Vec<Arc<Relay>>,
    services: Vec<Service>,
    weather: Vec<Arc<Mutex<Weather>>>,
    messages: Messages,
    /// When the logout of a token was acknowledged; logouts that a restored backup has lost are removed.
    logged_out: Arc<Mutex<BTreeMap<usize, Instant>>>,
    next_token: usize,
    /// The log was rolled back and kept its id: nothing may be appended before all nodes have seen it.
    is_final: bool,
    outcome: Outcome,
}

impl World {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let origin = Arc::new(Origin {
            log: Durable::new(),
            process: Process::new(),
            life: Signal::new(0),
            up: Signal::new(true),
            writes: true.into(),
            dice: dice.clone(),
        });
        Self {
            seed,
            started: Instant::now(),
            story: Story::default(),
            relays: Vec::new(),
            services: Vec::new(),
            weather: Vec::new(),
            messages: Messages::default(),
            logged_out: Arc::default(),
            next_token: 0,
            is_final: false,
            outcome: Outcome::default(),
            origin,
            dice,
        }
    }

    fn tell(&self, what: impl std::fmt::Display) {
        self.story.tell(self.started, what);
    }

    fn link(&mut self, from: &Process, to: Arc<dyn Node>) -> Arc<Link> {
        let weather = Arc::new(Mutex::new(self.some_weather()));
        self.weather.push(Arc::clone(&weather));
        Arc::new(Link {
            from: from.clone(),
            to,
            weather,
            dice: self.dice.clone(),
            messages: Arc::clone(&self.messages),
        })
    }

    fn some_weather(&self) -> Weather {
        match self.dice.below(6) {
            0..4 => Weather::FAIR,
            4 => Weather { cut: false, loses: 20, delay: 30, long_delay: 400 },
            _ => Weather { cut: false, loses: 6, delay: 120, long_delay: 1_500 },
        }
    }

    /// Builds a chain of up to three relays, with services anywhere along it.
    fn build(&mut self) {
        let mut nodes: Vec<Arc<dyn Node>> = vec![self.origin.clone()];
        for _ in 0..self.dice.below(4) {
            let process = Process::new();
            let upstream = self.link(&process, nodes.last().unwrap().clone());
            let clock = MachineClock::new(&self.dice);
            let relay = Arc::new(Relay { process, life: Mutex::default(), upstream, clock, dice: self.dice.clone() });
            relay.start();
            nodes.push(relay.clone());
            self.relays.push(relay);
        }
        for number in 0..2 {
            let at = if number == 0 { nodes.len() - 1 } else { self.dice.below(nodes.len()) };
            let process = Process::new();
            let transport = self.link(&process, nodes[at].clone());
            let clock = MachineClock::new(&self.dice);
            self.services.push(Service::start(format!("service {number} of node {at}"), process, transport, clock));
        }
    }

    async fn run(mut self) -> Outcome {
        self.build();
        while self.started.elapsed() < TROUBLE {
            self.something_happens();
            tokio::time::sleep(self.dice.milliseconds(0..2 * STEP.as_millis() as u64)).await;
            self.check();
        }
        self.all_is_well();
        tokio::time::sleep(RECOVERY).await;
        self.check();
        for service in &self.services {
            let control = service.verifier.verify(&TOKEN[TOKENS - 1].text);
            assert!(control.is_ok(), "{} has not recovered: {control:?}\n{}", service.name, self.whole_story());
        }
        self.outcome.story = self.story.whole();
        self.outcome
    }

    fn whole_story(&self) -> String {
        format!("ADIEU_SEED={}\n{}", self.seed, self.story.whole())
    }

    fn something_happens(&mut self) {
        match self.dice.below(24) {
            0..8 => self.log_out(),
            8 | 9 => self.log_out_by_a_service(),
            10..13 => {
                let (at, weather) = (self.dice.below(self.weather.len()), self.some_weather());
                self.tell(format!("link {at}: {weather:?}"));
                *self.weather[at].lock().unwrap() = weather;
            }
            13 => {
                let at = self.dice.below(self.weather.len());
                self.tell(format!("link {at} is cut"));
                self.weather[at].lock().unwrap().cut = true;
            }
            14..17 => self.heal_something(),
            17 => self.stop_or_let_run(),
            18 if self.dice.once_in(3) => {
                let at = self.dice.below(self.services.len());
                self.tell(format!("{} is started again", self.services[at].name));
                self.services[at].restart();
            }
            19 if self.dice.once_in(3) => {
                let up = !self.origin.up.get();
                self.tell(format!("the node is up: {up}"));
                self.origin.up.set(up);
                self.origin.life.set(self.origin.life.get() + 1);
            }
            20 if !self.relays.is_empty() && self.dice.once_in(3) => {
                let at = self.dice.below(self.relays.len());
                let lives = self.relays[at].life.lock().unwrap().is_some();
                self.tell(format!("relay {at} lives: {}", !lives));
                if lives { self.relays[at].stop() } else { self.relays[at].start() }
            }
            21 if self.dice.once_in(6) => self.restore_a_backup(),
            _ => {}
        }
    }

    fn log_out(&mut self) {
        if self.is_final || self.next_token == TOKENS - 1 || !self.origin.up.get() {
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        self.origin.log.append_now(vec![TOKEN[token].revocation.clone()]);
        self.logged_out.lock().unwrap().insert(token, Instant::now());
        self.outcome.logouts += 1;
        self.tell(format!("token {token} is logged out"));
    }

    /// Logs out over the network, with retries; the time of the response counts.
    fn log_out_by_a_service(&mut self) {
        if self.is_final || self.next_token == TOKENS - 1 {
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let remote = Arc::clone(&self.services[self.dice.below(self.services.len())].remote);
        let (logged_out, life) = (Arc::clone(&self.logged_out), self.origin.life.clone());
        let before = life.get();
        tokio::spawn(async move {
            let answer = remote.append(vec![TOKEN[token].revocation.clone()]).await;
            // The content of a backup from the meantime is unknown here.
            if answer.is_ok() && life.get() == before {
                logged_out.lock().unwrap().insert(token, Instant::now());
            }
        });
    }

    fn stop_or_let_run(&self) {
        let relays = self.relays.iter().map(|relay| &relay.process);
        let processes: Vec<&Process> =
            self.services.iter().map(|service| &service.process).chain(relays).chain([&self.origin.process]).collect();
        let at = self.dice.below(processes.len());
        let running = !processes[at].is_running();
        self.tell(format!("process {at} runs: {running}"));
        processes[at].set_running(running);
    }

    fn restore_a_backup(&mut self) {
        if self.is_final {
            return;
        }
        let as_another = self.dice.once_in(2);
        let lost = self.origin.log.go_back(1 + self.dice.below(4), as_another);
        self.origin.life.set(self.origin.life.get() + 1);
        self.tell(format!("a backup without the last {} is put back, as another log: {as_another}", lost.len()));
        self.logged_out.lock().unwrap().retain(|token, _| !lost.contains(&TOKEN[*token].revocation));
        self.is_final = !as_another;
        self.origin.writes.store(as_another, Ordering::Relaxed);
    }

    /// Repairs faults, most of the time: otherwise no process would be fresh for long.
    fn heal_something(&self) {
        if self.dice.once_in(3) {
            self.all_is_well();
        } else {
            let at = self.dice.below(self.weather.len());
            self.tell(format!("link {at} is well"));
            *self.weather[at].lock().unwrap() = Weather::FAIR;
        }
    }

    fn all_is_well(&self) {
        self.tell("all is well again");
        for weather in &self.weather {
            *weather.lock().unwrap() = Weather::FAIR;
        }
        self.origin.up.set(true);
        self.origin.process.set_running(true);
        for relay in &self.relays {
            relay.process.set_running(true);
            if relay.life.lock().unwrap().is_none() {
                relay.start();
            }
        }
        for service in &self.services {
            service.process.set_running(true);
        }
    }

    /// Checks that every service's verdict at this moment is right. A paused service gives none; the first moment after it continues is as
    /// good as any.
    fn check(&mut self) {
        let now = Instant::now();
        let logged_out = self.logged_out.lock().unwrap().clone();
        let (story, seed) = (&self.story, self.seed);
        let whole = || format!("ADIEU_SEED={seed}\n{}", story.whole());
        while let Some(ended) = self.messages.lock().unwrap().try_join_next() {
            assert!(ended.is_ok(), "a node broke\n{}", whole());
        }
        for service in &mut self.services {
            if !service.process.is_running() {
                continue;
            }
            match service.verifier.verify(&TOKEN[TOKENS - 1].text) {
                Ok(_) => self.outcome.accepted += 1,
                Err(TokenError::Stale) => self.outcome.refused_as_stale += 1,
                Err(refusal) => panic!("{}: a live token is refused: {refusal}\n{}", service.name, whole()),
            }
            for (token, text) in TOKEN.iter().take(self.next_token).map(|token| &token.text).enumerate() {
                let answered_at = logged_out.get(&token);
                let must_refuse = answered_at.is_some_and(|answered_at| now - *answered_at > MAX_STALENESS);
                // Tokens rejected before are unlikely to be interesting, and are the majority.
                let is_news = answered_at.is_some_and(|answered_at| now - *answered_at < MAX_STALENESS * 3 / 2);
                let seen = service.seen_revoked.contains(&token);
                let is_due = (must_refuse || seen) && (is_news && !seen || self.dice.once_in(16));
                if !is_due {
                    continue;
                }
                self.outcome.checks_past_the_bound += 1;
                match service.verifier.verify(text) {
                    Ok(_) => panic!(
                        "{} accepts token {token}, whose logout was answered {:?} ago\n{}",
                        service.name,
                        answered_at.map(|answered_at| now - *answered_at),
                        whole()
                    ),
                    Err(TokenError::Revoked(_)) => {
                        service.seen_revoked.insert(token);
                    }
                    Err(_) => {}
                }
            }
        }
    }
}
