//! How the log goes on, or becomes another.

use crate::{
    case::{
        Answer::{Endless, Log, Status, Valid},
        Case, OTHER,
        Step::{Acknowledged, Answered, Append, Never, PageSize, PutBack, ReplaceLog, Serve, Until},
        Verdict::{Accepted, Revoked},
        everything_entry, good, now, session_entry, token, token_entry,
    },
    page::Form,
};

use super::case;

const MAX_PAGE_ENTRIES: usize = 65_536;

pub(super) fn cases() -> Vec<Case> {
    let numbered =
        |range: std::ops::Range<usize>| range.map(|number| token_entry(&format!("t{number}"))).collect::<Vec<_>>();
    let until_revoked = |id: &str| Until(token(id), Revoked);
    let mut unknown_members = case(
        "unknown members are ignored",
        vec![
            Serve(Valid(|body, form| {
                if form != Form::Json {
                    return body;
                }
                let new = r#""new":{"kind":"token","id":[1,null,-2.5e3]},"#;
                String::from_utf8_lossy(&body)
                    .replace(r#""complete""#, &format!(r#"{new}"complete""#))
                    .replace(r#""kind""#, &format!(r#"{new}"kind""#))
                    .replace(r#""everything""#, r#""everything","id":"t""#)
                    .into_bytes()
            })),
            Append(vec![token_entry("t"), everything_entry(now()).of(OTHER)]),
            until_revoked("t"),
            Until(good().with("iss", OTHER), Revoked),
            Until(good(), Accepted),
        ],
    );
    unknown_members.form = Some(Form::Json);
    vec![
        case(
            "nothing is accepted before the log has been read",
            vec![Serve(Status(503)), Never(good()), Answered(1), Never(good()), Serve(Log), Until(good(), Accepted)],
        ),
        case(
            "a first page, and then a poll",
            vec![
                Append(vec![token_entry("a")]),
                until_revoked("a"),
                Until(good(), Accepted),
                Append(vec![token_entry("b"), session_entry("s")]),
                until_revoked("b"),
                Until(token("c").with("sid", "s"), Revoked),
                until_revoked("a"),
                Until(good(), Accepted),
                Acknowledged,
            ],
        ),
        case(
            "a log of several pages",
            vec![
                PageSize(2),
                Append(numbered(0..5)),
                until_revoked("t0"),
                until_revoked("t4"),
                until_revoked("t2"),
                Until(good(), Accepted),
                Append(numbered(5..8)),
                until_revoked("t7"),
                until_revoked("t5"),
                Until(good(), Accepted),
            ],
        ),
        case(
            "an acknowledged page has been applied",
            vec![
                PageSize(1),
                Append(numbered(0..3)),
                Acknowledged,
                Never(token("t0")),
                Never(token("t1")),
                Never(token("t2")),
                Until(good(), Accepted),
                Append(numbered(3..5)),
                Acknowledged,
                Never(token("t3")),
                Never(token("t4")),
            ],
        ),
        case(
            "pages that are not the last prove nothing",
            vec![Serve(Endless), Answered(20), Never(good()), Serve(Log), Until(good(), Accepted)],
        ),
        case(
            "a page of as many entries as it may have",
            vec![
                PageSize(MAX_PAGE_ENTRIES),
                Append(numbered(0..MAX_PAGE_ENTRIES)),
                until_revoked("t65535"),
                until_revoked("t0"),
                Until(good(), Accepted),
            ],
        ),
        unknown_members,
        case(
            "another log takes its place, and nothing is un-revoked",
            vec![
                Append(numbered(0..3)),
                until_revoked("t2"),
                Until(good(), Accepted),
                ReplaceLog,
                Append(vec![token_entry("new")]),
                until_revoked("new"),
                until_revoked("t0"),
                until_revoked("t2"),
                Until(good(), Accepted),
                Acknowledged,
                Append(vec![token_entry("newer")]),
                until_revoked("newer"),
            ],
        ),
        case(
            "another log of several pages is read from its beginning",
            vec![
                PageSize(1),
                Append(numbered(0..3)),
                Acknowledged,
                Never(token("t2")),
                ReplaceLog,
                Append(numbered(10..14)),
                until_revoked("t10"),
                until_revoked("t13"),
                until_revoked("t1"),
                Until(good(), Accepted),
            ],
        ),
        case(
            "a log that went back is read from its beginning, and nothing is un-revoked",
            vec![
                Append(numbered(0..3)),
                Acknowledged,
                PutBack,
                Append(vec![token_entry("a")]),
                until_revoked("a"),
                until_revoked("t0"),
                until_revoked("t2"),
                Until(good(), Accepted),
                Append(vec![token_entry("b")]),
                until_revoked("b"),
            ],
        ),
    ]
}
