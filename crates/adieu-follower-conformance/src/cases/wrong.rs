//! Answers that are no page, from a node that fails or lies: they prove nothing, and change nothing that is known.

use crate::{
    case::{
        Answer::{self, Bomb, Closed, CutOff, DrippingBody, DrippingHead, Log, Redirect, Silent, Status, Wrong},
        Case,
        Step::{Answered, Append, Never, PastBound, Serve, Until},
        Verdict::{Accepted, Revoked},
        claim_entry, good, key_entry, lapses_at, subject_entry, token, token_entry,
    },
    page::{Form, Kind, Page},
};

/// Whether an answer is wrong also if nothing was known before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Any,
    /// Only after a good page.
    Later,
    /// As the answer to a request without a cursor.
    First,
}

type Change = fn(&mut Page, Option<u64>);
type ChangeBytes = fn(Vec<u8>, Form) -> Vec<u8>;

const MAX_PAGE_ENTRIES: usize = 65_536;
const MAX_PAGE_BYTES: usize = 16 << 20;

pub(super) fn cases() -> Vec<Case> {
    let answers = ANSWERS.iter().map(|(name, answer)| refused(name, At::Any, None, *answer));
    let pages = PAGES.iter().map(|(name, at, change)| refused(name, *at, None, Wrong(*change, same)));
    let bytes = BYTES.iter().map(|(name, form, change)| refused(name, At::Any, *form, Wrong(unchanged, *change)));
    answers.chain(pages).chain(bytes).collect()
}

fn refused(name: &'static str, at: At, form: Option<Form>, answer: Answer) -> Case {
    let mut steps = vec![Append(vec![token_entry("known")])];
    if at != At::Later {
        steps.extend([Serve(answer), Answered(1), Never(good())]);
    }
    steps.extend([Serve(Log), Until(good(), Accepted), Until(token("known"), Revoked)]);
    if at != At::First {
        steps.extend([Serve(answer), Answered(1), PastBound, Never(good()), Never(token("known"))]);
        steps.extend([Serve(Log), Until(good(), Accepted), Until(token("known"), Revoked)]);
    }
    Case { name, form, steps }
}

const ANSWERS: &[(&str, Answer)] = &[
    ("no answer", Silent),
    ("a connection that is closed", Closed),
    ("a body that is cut off", CutOff),
    ("a body of one byte after another", DrippingBody),
    ("a head of one byte after another", DrippingHead),
    ("204", Status(204)),
    ("401", Status(401)),
    ("403", Status(403)),
    ("422", Status(422)),
    ("429", Status(429)),
    ("500", Status(500)),
    ("503", Status(503)),
    ("a redirect with 302", Redirect(302)),
    ("a redirect with 307", Redirect(307)),
    ("a compressed page that is far too long", Bomb),
];

const PAGES: &[(&str, At, Change)] = &[
    ("a position before that of the request", At::Later, |page, _| (page.position, page.from_start) = (0, false)),
    ("another log, but not from its start", At::Later, |page, _| {
        page.log = "another-log".to_owned();
        page.from_start = false;
    }),
    ("not from the start, to a request without a cursor", At::First, |page, _| page.from_start = false),
    ("a page that is not the last and does not advance", At::Later, |page, after| {
        page.complete = false;
        page.position = after.unwrap_or(0);
    }),
    ("an unknown kind", At::Any, |page, _| {
        let mut entry = token_entry("t");
        entry.kind = Kind::Unknown;
        page.entries.push(entry);
    }),
    ("an id without a byte", At::Any, |page, _| page.entries.push(token_entry(""))),
    ("an id of 513 bytes", At::Any, |page, _| page.entries.push(token_entry(&"t".repeat(513)))),
    ("an id of 513 bytes, of fewer characters", At::Any, |page, _| {
        page.entries.push(token_entry(&("t".to_owned() + &"\u{e9}".repeat(256))));
    }),
    ("an issuer without a byte", At::Any, |page, _| page.entries.push(token_entry("t").of(""))),
    ("a node without an issuer", At::Any, |page, _| page.issuer = String::new()),
    ("a log without an id", At::Any, |page, _| page.log = String::new()),
    ("a key without a byte", At::First, |page, _| page.entries.push(key_entry(""))),
    ("a key of 513 bytes", At::First, |page, _| page.entries.push(key_entry(&"k".repeat(513)))),
    ("a claim without a name", At::First, |page, _| page.entries.push(claim_entry("", "v", 0))),
    ("a claim with a name of 129 bytes", At::First, |page, _| page.entries.push(claim_entry(&"n".repeat(129), "v", 0))),
    ("a claim with a space in its name", At::First, |page, _| page.entries.push(claim_entry("a name", "v", 0))),
    ("a claim with a name that is not ASCII", At::First, |page, _| page.entries.push(claim_entry("\u{e9}", "v", 0))),
    ("a claim that has a kind of its own", At::First, |page, _| page.entries.push(claim_entry("sub", "v", 0))),
    ("a claim without a value", At::First, |page, _| page.entries.push(claim_entry("n", "", 0))),
    ("a claim of 513 bytes", At::First, |page, _| page.entries.push(claim_entry("n", &"v".repeat(511), 0))),
    ("a claim whose cut-off is after the year 9999", At::First, |page, _| {
        page.entries.push(claim_entry("n", "v", 253_402_300_800));
    }),
    ("a time beyond 64 bits", At::Any, |page, _| page.entries.push(token_entry("t").lapsing_at(1 << 70))),
    ("a time that is 0 in 64 bits", At::Any, |page, _| page.entries.push(token_entry("t").lapsing_at(1 << 64))),
    ("a time before 1970", At::Any, |page, _| page.entries.push(token_entry("t").lapsing_at(-1))),
    ("a time after the year 9999", At::Any, |page, _| {
        page.entries.push(token_entry("t").lapsing_at(253_402_300_800));
    }),
    ("a cut-off after the year 9999", At::Any, |page, _| {
        page.entries.push(subject_entry("jose", 253_402_300_800));
    }),
    ("a mark after the year 9999", At::Any, |page, _| page.pruned_through = 253_402_300_800),
    ("too many entries", At::Any, |page, _| page.entries = vec![token_entry("t"); MAX_PAGE_ENTRIES + 1]),
    ("an entry that lapses before 1970, by its difference", At::Any, |page, _| {
        page.entries.extend([token_entry("t"), token_entry("u").lapsing_at(-lapses_at())]);
    }),
];

const BYTES: &[(&str, Option<Form>, ChangeBytes)] = &[
    ("nothing", None, |_, _| Vec::new()),
    ("another kind of document", None, |_, _| b"<!doctype html><title>Welcome</title>".to_vec()),
    ("half a page", None, |mut body, _| {
        body.truncate(body.len() / 2);
        body
    }),
    ("a page and something behind it", None, |body, _| [body, b"{}".to_vec()].concat()),
    ("a page of more bytes than the limit", None, |mut body, _| {
        body.resize(MAX_PAGE_BYTES + 1, b' ');
        body
    }),
    ("an issuer that is not UTF-8", None, |body, _| replace(&body, b"adieu", b"adi\xffu")),
    ("a log that is not UTF-8", None, |body, _| replace(&body, b"log-", b"l\xc3\x28-")),
    ("half a surrogate pair", Some(Form::Json), |body, _| with_entry(&body, r#""id":"t\ud800""#)),
    ("an entry without an id", Some(Form::Json), |body, _| with_entry(&body, r#""new":"t""#)),
    ("an id that is a number", Some(Form::Json), |body, _| with_entry(&body, r#""id":7"#)),
    ("an id that is null", Some(Form::Json), |body, _| with_entry(&body, r#""id":null"#)),
    ("a claim whose value is a number", Some(Form::Json), |body, _| {
        replace(&with_entry(&body, r#""name":"n","value":7,"issued_until":1800000000"#), b"\"token\"", b"\"claim\"")
    }),
    ("a claim without a cut-off", Some(Form::Json), |body, _| {
        replace(&with_entry(&body, r#""name":"n","value":"v""#), b"\"token\"", b"\"claim\"")
    }),
    ("a page without `complete`", Some(Form::Json), |body, _| replace(&body, b"\"complete\"", b"\"end\"")),
    ("a page without `from_start`", Some(Form::Json), |body, _| replace(&body, b"\"from_start\"", b"\"from\"")),
    ("a page without `entries`", Some(Form::Json), |body, _| replace(&body, b"\"entries\"", b"\"entry\"")),
    ("a page without `age_ms`", Some(Form::Json), |body, _| replace(&body, b"\"age_ms\"", b"\"age\"")),
    ("a page without `pruned_through`", Some(Form::Json), |body, _| {
        replace(&body, b"\"pruned_through\"", b"\"pruned\"")
    }),
    ("a page without `max_staleness_ms`", Some(Form::Json), |body, _| {
        replace(&body, b"\"max_staleness_ms\"", b"\"max_staleness\"")
    }),
    ("a member in other letters", Some(Form::Json), |body, _| replace(&body, b"\"complete\"", b"\"Complete\"")),
    ("`expires_at` as a text", Some(Form::Json), |body, _| {
        replace(&with_entry(&body, r#""id":"t""#), b"\"expires_at\":1800000000", b"\"expires_at\":\"1800000000\"")
    }),
    ("`age_ms` beyond 64 bits", Some(Form::Json), |body, _| {
        replace(&body, b"\"age_ms\":0", b"\"age_ms\":18446744073709551616")
    }),
    ("a page in UTF-16", Some(Form::Json), |body, _| body.into_iter().flat_map(|byte| [byte, 0]).collect()),
    ("`complete` as a number", Some(Form::Json), |body, _| replace(&body, b"\"complete\":true", b"\"complete\":1")),
    ("`age_ms` below zero", Some(Form::Json), |body, _| replace(&body, b"\"age_ms\":0", b"\"age_ms\":-90000")),
    ("`entries` as null", Some(Form::Json), |body, _| {
        let text = String::from_utf8_lossy(&body);
        let (before, _) = text.split_once("\"entries\":").unwrap_or_default();
        format!("{before}\"entries\":null}}").into_bytes()
    }),
    ("a position that is not a number", Some(Form::Json), |body, _| {
        replace(&body, b"\",\"complete\"", b"x\",\"complete\"")
    }),
    ("a list in place of an object", Some(Form::Json), |body, _| [b"[".to_vec(), body, b"]".to_vec()].concat()),
    ("a version that is not known", Some(Form::Binary), |body, _| replace(&body, b"ADRV\x01", b"ADRV\x03")),
    ("a flag that is not known", Some(Form::Binary), |mut body, _| {
        if let Some(flags) = body.get_mut(5) {
            *flags |= 4;
        }
        body
    }),
    ("a number that is longer than it needs to be", Some(Form::Binary), |body, _| {
        // The age, after the flags.
        let (before, after) = body.split_at_checked(7).unwrap_or_default();
        [before.strip_suffix(b"\0").unwrap_or(before), b"\x80\0", after].concat()
    }),
];

fn same(body: Vec<u8>, _: Form) -> Vec<u8> {
    body
}

fn unchanged(_: &mut Page, _: Option<u64>) {}

/// Replaces the first occurrence of `old`.
fn replace(body: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = body.windows(old.len()).position(|part| part == old).unwrap_or(body.len());
    let (before, rest) = body.split_at(place);
    [before, new, rest.get(old.len()..).unwrap_or_default()].concat()
}

/// Puts an entry of kind `token` with these members before all others.
fn with_entry(body: &[u8], members: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let (before, entries) = text.split_once("\"entries\":[").unwrap_or_default();
    let comma = if entries.starts_with(']') { "" } else { "," };
    let entry =
        format!(r#"{{"issuer":"adieu","kind":"token",{members},"expires_at":1800000000,"lapses_at":1800000120}}"#);
    format!("{before}\"entries\":[{entry}{comma}{entries}").into_bytes()
}
