//! Which tokens an entry revokes.

use crate::{
    case::{
        Case, Claims, NODE, OTHER,
        Step::{Acknowledged, Append, Prune, Until},
        Verdict::{Accepted, Rejected, Revoked},
        everything_entry, exp, good, lapses_at, now, session_entry, subject_entry, token, token_entry,
    },
    page::Entry,
};

use super::case;

const UUID: &str = "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22";

pub(super) fn cases() -> Vec<Case> {
    let cut = now() - 100;
    let of_jose = |iat: f64| token("t").with("iat", iat);
    let at = |offset: f64| cut as f64 + offset;
    let session = |sid: &str| token("t").with("sid", sid);
    let elsewhere = |claims: Claims| claims.with("iss", OTHER);
    let matches = |name, entries: Vec<Entry>, revoked: Vec<Claims>, accepted: Vec<Claims>| {
        let mut steps = vec![Append(entries)];
        steps.extend(revoked.into_iter().map(|claims| Until(claims, Revoked)));
        steps.extend(accepted.into_iter().map(|claims| Until(claims, Accepted)));
        case(name, steps)
    };
    let mut cases = vec![
        matches(
            "a token",
            vec![token_entry("t")],
            vec![token("t"), token("t").without("sid").without("iat")],
            vec![token("u"), elsewhere(token("t")), token("u").with("sid", "t").with("sub", "t")],
        ),
        matches(
            "a token whose exp the caller did not know",
            vec![token_entry("t").without_time()],
            vec![token("t")],
            vec![token("u"), elsewhere(token("t"))],
        ),
        matches(
            "a token of another issuer",
            vec![token_entry("t").of(OTHER)],
            vec![elsewhere(token("t"))],
            vec![token("t"), elsewhere(token("u"))],
        ),
        matches(
            "a session",
            vec![session_entry("s")],
            vec![session("s"), session("s").with("jti", "another")],
            vec![session("r"), good().without("sid"), elsewhere(session("s")), token("s").with("sub", "s")],
        ),
        matches(
            "ids that are UUIDs",
            vec![token_entry(UUID), session_entry(UUID)],
            vec![token(UUID), session(UUID)],
            vec![token(&UUID.to_uppercase()), session(&UUID.replace('-', ""))],
        ),
        matches(
            "ids are compared byte by byte",
            vec![token_entry("jos\u{e9}"), session_entry("S\0"), subject_entry("Jos\u{e9}", now() + 5)],
            vec![token("jos\u{e9}"), session("S\0"), good().with("sub", "Jos\u{e9}")],
            vec![
                token("jose\u{301}"),
                token("JOS\u{c9}"),
                session("S"),
                session("s\0"),
                good().with("sub", "jos\u{e9}"),
            ],
        ),
        matches(
            "ids of 512 bytes",
            vec![token_entry(&"t".repeat(512)), session_entry(&"\u{e9}".repeat(256))],
            vec![token(&"t".repeat(512)), session(&"\u{e9}".repeat(256))],
            vec![token(&"t".repeat(511))],
        ),
        matches(
            "a subject, up to the second of the cut-off",
            vec![subject_entry("jose", cut)],
            vec![of_jose(at(-1.0)), of_jose(at(0.0)), of_jose(at(0.999)), of_jose(at(-5_000.0))],
            vec![
                of_jose(at(1.0)),
                of_jose(at(0.0)).with("sub", "maria"),
                elsewhere(of_jose(at(0.0))),
                of_jose(at(0.0)).with("sub", "maria").with("sid", "jose").with("jti", "jose"),
            ],
        ),
        matches(
            "an earlier cut-off of the same subject changes nothing",
            vec![subject_entry("jose", cut), subject_entry("jose", cut - 50)],
            vec![of_jose(at(0.0)), of_jose(at(-50.0))],
            vec![of_jose(at(1.0))],
        ),
        matches(
            "everything, up to the second of the cut-off",
            vec![everything_entry(cut)],
            vec![of_jose(at(0.0)), of_jose(at(0.5)).with("sub", "maria"), of_jose(at(-300.0))],
            vec![of_jose(at(1.0)), elsewhere(of_jose(at(0.0)))],
        ),
        matches(
            "everything of another issuer",
            vec![everything_entry(cut).of(OTHER), everything_entry(cut - 50).of(OTHER)],
            vec![elsewhere(of_jose(at(0.0)))],
            vec![of_jose(at(0.0)), elsewhere(of_jose(at(1.0)))],
        ),
    ];
    cases.extend([
        case(
            "a token without iat is older than any cut-off",
            vec![
                Append(vec![subject_entry("jose", cut), everything_entry(cut).of(OTHER)]),
                Until(good().without("iat"), Rejected),
                Until(elsewhere(good()).without("iat").with("sub", "maria"), Rejected),
                Until(good(), Accepted),
            ],
        ),
        case(
            "a token without exp is not accepted",
            vec![Until(good(), Accepted), Until(good().without("exp"), Rejected)],
        ),
        case(
            "a token has expired once its revocation may have been pruned",
            vec![
                Append(vec![token_entry("t").of(NODE)]),
                Until(token("t"), Revoked),
                Until(good(), Accepted),
                Prune(lapses_at()),
                Until(good(), Rejected),
                Until(token("t"), Rejected),
                Until(good().with("exp", exp() + 1), Accepted),
                // The largest mark ever seen counts.
                Prune(0),
                // It lapses after the mark: a follower needs nothing that has lapsed.
                Append(vec![session_entry("s").lapsing_at(lapses_at() + 1)]),
                Until(good().with("sid", "s").with("exp", exp() + 1), Revoked),
                Acknowledged,
                Until(good(), Rejected),
            ],
        ),
    ]);
    cases
}
