//! For how long a follower may accept a token without news of the node.

use std::time::Duration;

use crate::case::{
    Answer::{Late, Log, Silent, Status},
    BOUND, Case,
    Step::{Age, Answered, Append, Never, PastBound, Serve, Until},
    Verdict::{Accepted, Revoked},
    good, token, token_entry,
};

use super::case;

/// Late, but well before a follower may give up.
const LATE: Duration = Duration::from_millis(300);

pub(super) fn cases() -> Vec<Case> {
    let bound = BOUND.as_millis() as u64;
    vec![
        case(
            "past the bound nothing is accepted, until the node answers again",
            vec![
                Append(vec![token_entry("t")]),
                Until(good(), Accepted),
                Serve(Silent),
                PastBound,
                Never(good()),
                Never(token("t")),
                Answered(1),
                Never(good()),
                Serve(Log),
                Until(good(), Accepted),
                Until(token("t"), Revoked),
                Serve(Status(503)),
                PastBound,
                Never(good()),
                Serve(Log),
                Until(good(), Accepted),
            ],
        ),
        case(
            "the bound counts from before the request",
            vec![Serve(Late(LATE)), Until(good(), Accepted), Serve(Silent), PastBound, Never(good())],
        ),
        case(
            "the age of the node counts",
            vec![Age(bound * 6 / 10), Until(good(), Accepted), Serve(Silent), PastBound, Never(good())],
        ),
        case(
            "a node that is itself too old proves nothing",
            vec![
                Age(bound + 1),
                Append(vec![token_entry("t")]),
                Until(token("t"), Revoked),
                Answered(3),
                Never(good()),
                Age(u64::MAX),
                Answered(6),
                Never(good()),
                Age(0),
                Until(good(), Accepted),
            ],
        ),
    ]
}
