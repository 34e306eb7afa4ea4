//! The index, compared with concurrent sets that could replace it.
//!
//! `cargo bench -p adieu --bench index` prints criterion's results, and then one table; `ADIEU_BENCH_ENTRIES=100000000`
//! sets how many ids are revoked (above ten million only Adieu runs: the others would need the strings in memory),
//! `ADIEU_BENCH_ONLY` selects one line.
//!
//! Every structure runs in its own process, so that the memory measured is its own and no structure inherits a warm heap. A
//! writer adds 10 000 facts a second beside the readers. Look-ups go through a million prepared tokens in random order, each
//! of which has been read just before, as on a server.
//!
//! Criterion measures a look-up with one reader. The table has the median of rounds of 1 000, in brackets the 5th
//! percentile (rounds that a busy machine has not disturbed). Pauses are measured in the thread's processor time, because time taken
//! by the scheduler is not caused by the structure; pauses of growing, over the first ten million entries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::{
    cell::Cell,
    collections::HashSet,
    env, fs,
    hint::black_box,
    process::{Command, Stdio},
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Index, Revocation, Target, TokenFacts},
    time::Timestamp,
};
use criterion::Criterion;
use rustix::time::{ClockId, clock_gettime};

const ISSUER: &str = "https://auth.example.com";
const NOW: u64 = 1_800_000_000;
/// Access tokens live for a quarter of an hour.
const LIFE: u64 = 900;
const QUERIES: u64 = 1_000_000;
/// Short enough to fall between two interruptions, most of the time.
const ROUND: usize = 1_000;

fn main() {
    let entries: u64 = env::var("ADIEU_BENCH_ENTRIES").map_or(1_000_000, |text| text.parse().expect("a number"));
    if let Ok(name) = env::var("ADIEU_BENCH_CASE") {
        let task = env::var("ADIEU_BENCH_TASK").expect("a task");
        return run(&name, entries, &task);
    }
    let only = env::var("ADIEU_BENCH_ONLY").ok();
    let chosen = |name: &&str| only.as_deref().is_none_or(|only| only == *name);
    // The others would need the strings in memory.
    let names: Vec<&str> = NAMES
        .into_iter()
        .filter(chosen)
        .filter(|name| entries <= 10_000_000 || !name.contains("Hash") && *name != "DashSet")
        .collect();
    names.iter().for_each(|name| print!("{}", in_a_process(name, "criterion")));
    println!("{entries} revoked ids, half of the look-ups hits (whole checks: all of live tokens), ns a look-up\n");
    println!(
        "| structure | 1 reader | 2 readers | bytes/entry (process) | inserts/s | longest insert | longest drop step |"
    );
    println!("|---|---|---|---|---|---|---|");
    names.iter().for_each(|name| print!("{}", in_a_process(name, "row")));
}

const NAMES: [&str; 6] =
    ["adieu, whole check", "adieu, token id", "one read of memory", "scc::HashIndex", "DashSet", "RwLock<HashSet>"];

/// Returns the output of a separate process that runs this task with a structure.
fn in_a_process(name: &str, task: &str) -> String {
    let done = Command::new(env::current_exe().expect("this program"))
        .envs([("ADIEU_BENCH_CASE", name), ("ADIEU_BENCH_TASK", task)])
        .stderr(Stdio::inherit())
        .output()
        .expect("starts itself");
    assert!(done.status.success(), "{name} failed");
    String::from_utf8(done.stdout).expect("text")
}

fn run(name: &str, entries: u64, task: &str) {
    match name {
        "adieu, whole check" => perform::<WholeCheck>(name, entries, task),
        "adieu, token id" => perform::<TokenIds>(name, entries, task),
        "one read of memory" => perform::<Memory>(name, entries, task),
        "scc::HashIndex" => perform::<scc::HashIndex<Box<str>, ()>>(name, entries, task),
        "DashSet" => perform::<dashmap::DashSet<Box<str>>>(name, entries, task),
        "RwLock<HashSet>" => perform::<RwLock<HashSet<Box<str>>>>(name, entries, task),
        other => panic!("there is no {other}"),
    }
}

fn perform<C: Candidate>(name: &str, entries: u64, task: &str) {
    match task {
        "criterion" => look_up_by_criterion::<C>(name, entries),
        "row" => print_row::<C>(name, entries),
        "growing" => println!("{:.0}", longest_insert::<C>(entries.min(10_000_000)).as_secs_f64() * 1e6),
        other => panic!("unknown operation: {other}"),
    }
}

/// One structure under test. Fact `number` is about token `number`, or about its session or its subject.
trait Candidate: Sync {
    /// Whether half of the looked up tokens are revoked, or none.
    const HITS: bool = true;

    fn start(entries: u64) -> Self;
    /// Sets the current time before the next inserts.
    fn tick(&self, _now: u64) {}
    fn insert(&self, number: u64);
    fn contains(&self, token: &Token) -> bool;
    /// Runs one step of dropping entries that have expired by `now`, if supported.
    fn drop_step(&self, _now: u64) -> bool {
        false
    }
}

/// One text, sliced where it is used, as a token's claims are: neither UTF-8 checks nor pointer chasing are measured.
struct Token {
    text: String,
    expires_at: u64,
}

impl Token {
    fn new(number: u64) -> Self {
        let mut text = [0; 84];
        text[..36].copy_from_slice(&id(number, 0));
        text[36..72].copy_from_slice(&id(number, 1));
        write_hex(&mut text[72..], mix(number ^ 0x5b));
        Self { text: String::from_utf8(text.to_vec()).expect("hexadecimal"), expires_at: expires_at(number) }
    }

    /// Reads it into the processor's cache, where a token that has just been verified is.
    fn read(&self) -> u8 {
        self.text.bytes().fold(self.expires_at as u8, u8::wrapping_add)
    }

    fn id(&self) -> &str {
        &self.text[..36]
    }

    fn session(&self) -> &str {
        &self.text[36..72]
    }

    fn subject(&self) -> &str {
        &self.text[72..]
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("hexadecimal")
}

/// A bijection on 64 bits that looks random (the finalizer of splitmix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn write_hex(text: &mut [u8], mut bits: u64) {
    for byte in text {
        *byte = b"0123456789abcdef"[(bits & 15) as usize];
        bits >>= 4;
    }
}

/// Written like a UUID, as the ids of tokens and sessions are.
fn id(number: u64, kind: u64) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let (first, second) = (mix(number * 4 + kind), mix(!(number * 4 + kind)));
    write_hex(&mut text[0..8], first);
    write_hex(&mut text[9..13], first >> 32);
    write_hex(&mut text[14..18], first >> 48);
    write_hex(&mut text[19..23], second);
    write_hex(&mut text[24..36], second >> 16);
    text
}

fn expires_at(number: u64) -> u64 {
    NOW + 1 + mix(number) % LIFE
}

fn token_fact(number: u64) -> Revocation {
    let expires_at = Timestamp::from_unix(expires_at(number));
    Revocation {
        issuer: issuer(),
        target: Target::Token { id: TokenId::new(text(&id(number, 0))).unwrap(), expires_at: Some(expires_at) },
        lapses_at: expires_at.plus(Duration::from_secs(60)),
    }
}

thread_local! {
    static THE_ISSUER: Issuer = Issuer::new(ISSUER).unwrap();
}

fn issuer() -> Issuer {
    THE_ISSUER.with(Clone::clone)
}

fn facts(token: &Token) -> TokenFacts<'_> {
    TokenFacts {
        issuer: ISSUER,
        token_id: token.id(),
        session: Some(token.session()),
        subject: token.subject(),
        issued_at: Some(Timestamp::from_unix(token.expires_at - LIFE)),
        expires_at: Timestamp::from_unix(token.expires_at),
        key_id: None,
        claims: None,
    }
}

/// Facts of every kind: of 20, 14 tokens, 5 sessions and 1 subject; and one "everything until" with an old time.
struct WholeCheck {
    index: Index,
    now: AtomicU64,
}

impl Candidate for WholeCheck {
    const HITS: bool = false;

    fn start(_: u64) -> Self {
        let index = Index::new(Timestamp::from_unix(NOW));
        index.insert(&Revocation {
            issuer: issuer(),
            target: Target::Everything { issued_until: Timestamp::from_unix(NOW - 2 * LIFE) },
            lapses_at: Timestamp::from_unix(NOW + LIFE + 60),
        });
        Self { index, now: AtomicU64::new(NOW - LIFE) }
    }

    fn tick(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
        self.index.drop_lapsed(Timestamp::from_unix(now));
    }

    fn insert(&self, number: u64) {
        // The issue time of the session's last token is unknown: the fact lives for a whole lifetime from now.
        let lapses_at = Timestamp::from_unix(self.now.load(Ordering::Relaxed) + LIFE + 60);
        let target = match number % 20 {
            0..14 => return self.index.insert(&token_fact(number)),
            14..19 => Target::Session { id: SessionId::new(text(&id(number, 1))).unwrap() },
            _ => Target::Subject {
                id: Subject::new(Token::new(number).subject()).unwrap(),
                issued_until: Timestamp::from_unix(expires_at(number) - LIFE),
            },
        };
        self.index.insert(&Revocation { issuer: issuer(), target, lapses_at });
    }

    fn contains(&self, token: &Token) -> bool {
        self.index.check(&facts(token)).is_some()
    }

    fn drop_step(&self, now: u64) -> bool {
        self.index.drop_lapsed(Timestamp::from_unix(now));
        true
    }
}

/// Tokens only: the same look-up as in the other structures.
struct TokenIds(Index);

impl Candidate for TokenIds {
    fn start(_: u64) -> Self {
        Self(Index::new(Timestamp::from_unix(NOW)))
    }

    fn insert(&self, number: u64) {
        self.0.insert(&token_fact(number));
    }

    fn contains(&self, token: &Token) -> bool {
        self.0.check(&facts(token)).is_some()
    }

    fn drop_step(&self, now: u64) -> bool {
        self.0.drop_lapsed(Timestamp::from_unix(now));
        true
    }
}

/// The machine's time to read one word of as much memory as the index has, and to write one: no look-up can be faster, unless it has
/// less memory to search.
struct Memory(Vec<AtomicU64>);

impl Memory {
    fn word(&self, place: u64) -> &AtomicU64 {
        &self.0[((u128::from(mix(place)) * self.0.len() as u128) >> 64) as usize]
    }
}

thread_local! {
    static LAST: Cell<u64> = const { Cell::new(0) };
}

impl Candidate for Memory {
    fn start(entries: u64) -> Self {
        const BYTES: u64 = 13;
        Self((0..entries * BYTES / 8).map(AtomicU64::new).collect())
    }

    fn insert(&self, number: u64) {
        self.word(number).store(number, Ordering::Relaxed);
    }

    fn contains(&self, token: &Token) -> bool {
        let id = token.id().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        LAST.with(|last| {
            // Added to the position, it makes each read wait for the previous one; it is zero.
            let read = self.word(id.wrapping_add(last.get() >> 63)).load(Ordering::Relaxed);
            last.set(read);
            read.is_multiple_of(2)
        })
    }
}

impl Candidate for scc::HashIndex<Box<str>, ()> {
    fn start(_: u64) -> Self {
        Self::new()
    }

    fn insert(&self, number: u64) {
        let _ = self.insert_sync(text(&id(number, 0)).into(), ());
    }

    fn contains(&self, token: &Token) -> bool {
        self.contains(token.id())
    }
}

impl Candidate for dashmap::DashSet<Box<str>> {
    fn start(_: u64) -> Self {
        Self::new()
    }

    fn insert(&self, number: u64) {
        self.insert(text(&id(number, 0)).into());
    }

    fn contains(&self, token: &Token) -> bool {
        self.contains(token.id())
    }
}

impl Candidate for RwLock<HashSet<Box<str>>> {
    fn start(_: u64) -> Self {
        Self::default()
    }

    fn insert(&self, number: u64) {
        self.write().unwrap().insert(text(&id(number, 0)).into());
    }

    fn contains(&self, token: &Token) -> bool {
        self.read().unwrap().contains(token.id())
    }
}

fn look_up_by_criterion<C: Candidate>(name: &str, entries: u64) {
    let candidate = C::start(entries);
    fill(&candidate, entries, || {});
    let queries = queries::<C>(entries);
    beside_a_writer(&candidate, &AtomicU64::new(entries), || {
        let mut rounds = queries.chunks(ROUND).cycle();
        let mut criterion = Criterion::default().without_plots();
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|look_ups| {
                let rounds = rounds.by_ref().take((look_ups as usize).div_ceil(ROUND));
                let took: Duration = rounds.map(|round| look_up_round(&candidate, round)).sum();
                // Scaled from whole rounds to the requested number.
                took.mul_f64(look_ups as f64 / ((look_ups as usize).div_ceil(ROUND) * ROUND) as f64)
            });
        });
    });
}

fn print_row<C: Candidate>(name: &str, entries: u64) {
    let before = resident();
    let candidate = C::start(entries);
    let start = Instant::now();
    fill(&candidate, entries, || {});
    let inserts = entries as f64 / start.elapsed().as_secs_f64();
    let bytes = resident().saturating_sub(before) as f64 / entries as f64;

    let queries = queries::<C>(entries);
    let inserted = AtomicU64::new(entries);
    let one = look_up(&candidate, &queries, 1, &inserted);
    let two = look_up(&candidate, &queries, 2, &inserted);

    let mut longest_drop = Duration::ZERO;
    let mut drops = false;
    for now in NOW..NOW + 2 * LIFE {
        let start = processor_time();
        drops = candidate.drop_step(now);
        longest_drop = longest_drop.max(processor_time() - start);
    }
    drop(candidate);
    // Again in a separate process: an allocator that has just received all this memory is busy with it for a while.
    let longest_insert = in_a_process(name, "growing");
    let drop = if drops { format!("{:.0} µs", longest_drop.as_secs_f64() * 1e6) } else { "—".to_owned() };
    println!(
        "| {name} | {one} | {two} | {bytes:.1} | {:.2} M | {} µs | {drop} |",
        inserts / 1e6,
        longest_insert.trim()
    );
}

/// Grows an empty structure, and returns the duration of the slowest insert.
fn longest_insert<C: Candidate>(entries: u64) -> Duration {
    let candidate = C::start(entries);
    let mut longest = Duration::ZERO;
    let mut before = processor_time();
    fill(&candidate, entries, || {
        let after = processor_time();
        longest = longest.max(after - before);
        before = after;
    });
    longest
}

/// Revokes evenly over a token's life, up to now.
fn fill<C: Candidate>(candidate: &C, entries: u64, mut after_each: impl FnMut()) {
    for number in 0..entries {
        if number * LIFE / entries != number.saturating_sub(1) * LIFE / entries {
            candidate.tick(NOW - LIFE + number * LIFE / entries);
        }
        candidate.insert(number);
        after_each();
    }
    candidate.tick(NOW);
}

/// Half of the numbers were inserted, half were not; or none was, for tokens that are all live.
fn queries<C: Candidate>(entries: u64) -> Vec<Token> {
    let number = |query| match query % 2 {
        0 if C::HITS => mix(query) % entries,
        _ => u64::MAX / 8 - mix(query) % entries,
    };
    (0..QUERIES).map(|query| Token::new(number(query))).collect()
}

/// Measures look-ups of tokens, each of which has just been read.
fn look_up_round<C: Candidate>(candidate: &C, round: &[Token]) -> Duration {
    black_box(round.iter().map(Token::read).fold(0, u8::wrapping_add));
    let start = Instant::now();
    let hits = round.iter().filter(|token| candidate.contains(token)).count();
    let took = start.elapsed();
    assert_eq!(black_box(hits) > round.len() / 3, C::HITS, "{hits}");
    took
}

/// Adds 10 000 facts a second while the readers run.
fn beside_a_writer<C: Candidate, T>(candidate: &C, inserted: &AtomicU64, readers: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                while written < start.elapsed().as_micros() as u64 / 100 {
                    candidate.insert(inserted.fetch_add(1, Ordering::Relaxed));
                    written += 1;
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let read = readers();
        done.store(true, Ordering::Relaxed);
        read
    })
}

fn look_up<C: Candidate>(candidate: &C, queries: &[Token], readers: usize, inserted: &AtomicU64) -> String {
    let read = |reader: usize| {
        let all = queries.len() / ROUND;
        let skips = (0..5).map(|pass| (reader * 5 + pass) % all);
        let rounds = skips.flat_map(|skip| queries.chunks(ROUND).cycle().skip(skip).take(all));
        rounds.map(|round| look_up_round(candidate, round).as_secs_f64() * 1e9 / ROUND as f64).collect::<Vec<_>>()
    };
    let mut rounds: Vec<f64> = beside_a_writer(candidate, inserted, || {
        thread::scope(|scope| {
            let readers: Vec<_> = (0..readers).map(|reader| scope.spawn(move || read(reader))).collect();
            readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
        })
    });
    rounds.sort_by(f64::total_cmp);
    format!("{:.0} ({:.0})", rounds[rounds.len() / 2], rounds[rounds.len() / 20])
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4096
}
