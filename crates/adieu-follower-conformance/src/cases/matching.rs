//! Which tokens an entry revokes.

use serde_json::{Value, json};

use crate::{
    case::{
        Case, Claims, NODE, OTHER,
        Step::{Acknowledged, Append, Prune, Until},
        Verdict::{Accepted, Rejected, Revoked},
        claim_entry, everything_entry, exp, good, key_entry, lapses_at, now, session_entry, subject_entry, token,
        token_entry,
    },
    page::Entry,
};

use super::case;

const TEXT: &str = "jos\u{e9}";
const UUID: &str = "01930a4e-5b7c-7d2f-9d3a-0c6f0f7f5a22";

pub(super) fn cases() -> Vec<Case> {
    let cut = now() - 100;
    let of_jose = |iat: f64| token("t").with("iat", iat);
    let at = |offset: f64| cut as f64 + offset;
    let session = |sid: &str| token("t").with("sid", sid);
    let tenant = |value: Value| good().with("tenant", value);
    let revoked = |value: &str| claim_entry("tenant", value, now());
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
            "names of claims are compared byte by byte",
            vec![token_entry("t"), session_entry("s"), subject_entry("maria", now())],
            // U+017F is another form of the letter s.
            vec![token("t").with("JTI", "u"), session("s").with("\u{17f}id", "r")],
            vec![good().with("JTI", "t"), good().without("sid").with("SID", "s"), good().with("Sub", "maria")],
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
        matches(
            "a key, whenever the token was issued",
            vec![key_entry("kid-1"), key_entry(UUID)],
            vec![
                good().with_kid("kid-1"),
                good().with_kid(UUID),
                good().with_kid("kid-1").with("iat", now()),
                good().with_kid("kid-1").without("iat"),
            ],
            vec![
                good(),
                good().with_kid("kid-2"),
                good().with_kid("Kid-1"),
                elsewhere(good().with_kid("kid-1")),
                good().with("kid", "kid-1"),
                token("kid-1").with("sid", "kid-1").with("sub", "kid-1"),
            ],
        ),
        matches(
            "a key of another issuer",
            vec![key_entry("kid-1").of(OTHER)],
            vec![elsewhere(good().with_kid("kid-1"))],
            vec![good().with_kid("kid-1"), elsewhere(good().with_kid("kid-2"))],
        ),
        matches(
            "a claim, up to the second of the cut-off",
            vec![claim_entry("tenant", "acme", cut)],
            [-1.0, 0.0, 0.999, -5_000.0].map(|offset| of_jose(at(offset)).with("tenant", "acme")).to_vec(),
            vec![
                of_jose(at(1.0)).with("tenant", "acme"),
                of_jose(at(0.0)),
                of_jose(at(0.0)).with("tenant", "Acme"),
                of_jose(at(0.0)).with("Tenant", "acme").with("role", "acme"),
                elsewhere(of_jose(at(0.0)).with("tenant", "acme")),
                token("acme").with("sid", "acme").with("sub", "acme").with("iat", at(0.0)),
            ],
        ),
        matches(
            "an earlier cut-off of the same claim changes nothing",
            vec![claim_entry("tenant", "acme", cut), claim_entry("tenant", "acme", cut - 50)],
            vec![of_jose(at(0.0)).with("tenant", "acme")],
            vec![of_jose(at(1.0)).with("tenant", "acme"), of_jose(at(0.0)).with("tenant", "globex")],
        ),
        matches(
            "a claim of another issuer",
            vec![claim_entry("tenant", "acme", now()).of(OTHER), claim_entry("tenant", "globex", now())],
            vec![elsewhere(tenant(json!("acme"))), tenant(json!("globex"))],
            vec![tenant(json!("acme")), elsewhere(tenant(json!("globex")))],
        ),
        matches(
            "several claims of a token",
            vec![
                claim_entry("tenant", "acme", cut),
                claim_entry("role", "editor", now()),
                claim_entry("plan", UUID, now()),
            ],
            vec![
                tenant(json!("acme")).with("role", "editor"),
                tenant(json!("globex")).with("role", "editor"),
                good().with("plan", UUID),
            ],
            vec![tenant(json!("acme")).with("role", "admin"), good().with("plan", UUID.to_uppercase())],
        ),
        matches(
            "a claim that is a text, compared byte by byte",
            [TEXT, "a\u{1f}b", "1.0", "01", "-0", "True", "null", "9007199254740992"].map(revoked).to_vec(),
            [TEXT, "a\u{1f}b", "1.0", "01", "-0", "True", "null", "9007199254740992"]
                .map(|text| tenant(json!(text)))
                .to_vec(),
            vec![
                tenant(json!("jose\u{301}")),
                tenant(json!("b")),
                tenant(json!(1)),
                tenant(json!(1.0)),
                tenant(json!(0)),
                tenant(json!(true)),
                tenant(Value::Null),
                tenant(json!(9_007_199_254_740_992_i64)),
                tenant(json!("")),
            ],
        ),
        matches(
            "a claim that is a boolean",
            vec![revoked("true")],
            vec![tenant(json!(true)), tenant(json!("true"))],
            vec![tenant(json!(false)), tenant(json!(1)), tenant(json!("True")), tenant(json!("1"))],
        ),
        matches(
            "a claim that is a whole number",
            ["1", "0", "-5", "1000", "9007199254740991", "-9007199254740991"].map(revoked).to_vec(),
            vec![
                tenant(json!(1)),
                tenant(json!(1.0)),
                tenant(json!("1")),
                tenant(json!(0)),
                tenant(json!(0.0)),
                tenant(json!(-0.0)),
                tenant(json!(-5)),
                tenant(json!(-5.0)),
                tenant(json!(1000.0)),
                tenant(json!(9_007_199_254_740_991_i64)),
                tenant(json!(-9_007_199_254_740_991_i64)),
            ],
            vec![
                tenant(json!(true)),
                tenant(json!(false)),
                tenant(json!(1.5)),
                tenant(json!(-5.5)),
                tenant(json!(5)),
                tenant(json!(10)),
                tenant(json!("1.0")),
                tenant(json!("-0")),
                tenant(json!("")),
                tenant(Value::Null),
                tenant(json!(9_007_199_254_740_992_i64)),
                tenant(json!(-9_007_199_254_740_992_i64)),
            ],
        ),
        matches(
            "numbers that not every reader reads exactly match nothing",
            ["9007199254740992", "9007199254740993", "1.5", "1e300", "18446744073709551615"].map(revoked).to_vec(),
            vec![tenant(json!("1.5"))],
            vec![
                tenant(json!(9_007_199_254_740_992_i64)),
                tenant(json!(9_007_199_254_740_993_i64)),
                tenant(json!(9_007_199_254_740_992.0)),
                tenant(json!(1.5)),
                tenant(json!(1e300)),
                tenant(json!(u64::MAX)),
            ],
        ),
        matches(
            "a claim that is an array, of which one element matches",
            vec![revoked("acme"), revoked("7"), revoked("false")],
            vec![
                tenant(json!(["acme"])),
                tenant(json!(["globex", "acme"])),
                tenant(json!([null, {}, [], 1.5, 7.0])),
                tenant(json!([true, false])),
            ],
            vec![
                tenant(json!([])),
                tenant(json!(["globex", 8, true])),
                tenant(json!([["acme"]])),
                tenant(json!([{ "tenant": "acme" }])),
                tenant(json!([null])),
            ],
        ),
        matches(
            "a claim that is an object or null matches nothing",
            ["acme", "null", "None", "{}", "[]"].map(revoked).to_vec(),
            vec![tenant(json!("acme"))],
            vec![
                tenant(json!({ "acme": "acme", "tenant": "acme" })),
                tenant(json!({})),
                tenant(json!([])),
                tenant(Value::Null),
            ],
        ),
        matches(
            "the longest claims",
            vec![
                claim_entry(&"n".repeat(128), &"v".repeat(383), now()),
                claim_entry("n", &"v".repeat(510), now()),
                claim_entry("!~", "v", now()),
            ],
            vec![
                good().with(&"n".repeat(128), "v".repeat(383)),
                good().with("n", "v".repeat(510)),
                good().with("!~", "v"),
            ],
            vec![
                good().with(&"n".repeat(127), "v".repeat(383)),
                good().with("n", "v".repeat(509)),
                good().with("n", "v".repeat(4_000)),
            ],
        ),
    ];
    cases.extend([
        case(
            "a token without iat is older than any cut-off",
            vec![
                Append(vec![
                    subject_entry("jose", cut),
                    everything_entry(cut).of(OTHER),
                    claim_entry("tenant", "acme", cut),
                ]),
                Until(good().without("iat"), Rejected),
                Until(tenant(json!("acme")).with("sub", "maria").without("iat"), Rejected),
                Until(elsewhere(good()).without("iat").with("sub", "maria"), Rejected),
                Until(good(), Accepted),
            ],
        ),
        case(
            "a token without exp is not accepted",
            vec![Until(good(), Accepted), Until(good().without("exp"), Rejected)],
        ),
        case(
            "a claim that cannot be compared with an entry makes the token invalid",
            [Value::Null, json!(7), json!(["t"]), json!(""), json!("t".repeat(513))]
                .into_iter()
                .flat_map(|value| ["jti", "sid"].map(|name| good().with(name, value.clone())))
                .chain(
                    [Value::Null, json!("1800000000"), json!(-1), json!(1e30)]
                        .into_iter()
                        .flat_map(|value| ["iat", "exp"].map(|name| good().with(name, value.clone()))),
                )
                .map(|claims| Until(claims, Rejected))
                .chain([Until(good(), Accepted)])
                .collect(),
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
                Until(good().with("exp", exp() as f64 + 0.5), Rejected),
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
