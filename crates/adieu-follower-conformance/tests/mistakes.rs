//! A follower that makes a mistake is found out, by the case that is about it; the same follower without one passes every case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn judge(arguments: &[&str], mistake: &str) -> Output {
    let follower = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/follower.py");
    Command::new(env!("CARGO_BIN_EXE_adieu-follower-conformance"))
        .args(arguments)
        .args(["--", "python3", follower, mistake])
        .output()
        .unwrap()
}

#[test]
fn a_follower_without_a_mistake_passes() {
    let output = judge(&["--quiet"], "");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.ends_with(" passed, 0 failed, 3 not applicable\n"), "{printed}");
}

#[test]
fn each_mistake_is_found_by_the_case_about_it() {
    let judge = |(mistake, case, _): &(&str, &str, &str)| judge(&["--only", case, "--limit", "20"], mistake);
    let mut missed: Vec<String> = Vec::new();
    // Most of the time, a case waits.
    for some in MISTAKES.chunks(21) {
        let outputs: Vec<Output> = std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|mistake| scope.spawn(move || judge(mistake))).collect();
            running.into_iter().map(|judged| judged.join().unwrap()).collect()
        });
        for (mistake, mut output) in some.iter().zip(outputs) {
            // On a busy machine, an answer or a question may come too late to find the mistake, so it gets the machine for itself.
            for _ in 0..4 {
                if output.status.success() {
                    output = judge(mistake);
                }
            }
            let (name, case, why) = mistake;
            let printed = String::from_utf8_lossy(&output.stdout);
            let is_found = output.status.code() == Some(1)
                && printed.starts_with(&format!("FAILED  {case}: step "))
                && printed.contains(why)
                && printed.ends_with("0 passed, 1 failed, 0 not applicable\n");
            if !is_found {
                missed.push(format!("{name}, {case}, {why}: {printed}"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn what_can_not_be_run_is_reported_once() {
    let program = || Command::new(env!("CARGO_BIN_EXE_adieu-follower-conformance"));
    let missing = program().args(["--", "/no/such/program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with("/no/such/program can't be started"));
    let unknown = judge(&["--only", "no such case"], "");
    assert!(String::from_utf8_lossy(&unknown.stderr).starts_with("there is no case \"no such case\""));
    // Whether it is asked or waited for.
    for case in ["a token", "a log that went back is read from its beginning, and nothing is un-revoked"] {
        let ended = program().args(["--only", case, "--", "true"]).output().unwrap();
        let printed = String::from_utf8_lossy(&ended.stdout);
        assert!(
            printed.starts_with(&format!("FAILED  {case}: step ")) && printed.contains("it has ended"),
            "{printed}"
        );
    }
}

/// A mistake of `follower.py`, the case that is about it, and what the case must say.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "accepts when it is stale",
        "past the bound nothing is accepted, until the node answers again",
        "accepts the token",
    ),
    ("accepts when it is stale", "503", "accepts the token"),
    ("accepts before it has read the log", "nothing is accepted before the log has been read", "accepts the token"),
    ("counts the bound from after the answer", "the bound counts from before the request", "accepts the token"),
    ("ignores the age of the node", "the age of the node counts", "accepts the token"),
    ("ignores the age of the node", "a node that is itself too old proves nothing", "accepts the token"),
    ("takes any page for the last", "pages that are not the last prove nothing", "accepts the token"),
    ("takes any status for an answer", "500", "accepts the token"),
    ("takes any status for an answer", "a redirect with 302", "accepts the token"),
    ("believes a position that goes back", "a position before that of the request", "must refuse"),
    ("believes a position that goes back", "another log, but not from its start", "must refuse"),
    ("believes a position that goes back", "not from the start, to a request without a cursor", "must refuse"),
    (
        "forgets what another log does not have",
        "another log takes its place, and nothing is un-revoked",
        "the verdict is Accepted",
    ),
    (
        "forgets what another log does not have",
        "a log that went back is read from its beginning, and nothing is un-revoked",
        "Accepted",
    ),
    ("acknowledges before it applies", "an acknowledged page has been applied", "accepts the token"),
    ("follows redirects", "a redirect with 302", "follows a redirect"),
    ("follows redirects", "a redirect with 307", "follows a redirect"),
    ("gives up only when no byte comes", "a head of one byte after another", "no further request"),
    ("gives up only when no byte comes", "a body of one byte after another", "no further request"),
    ("reads answers of any length", "a page of more bytes than the limit", "must refuse"),
    ("reads any number of entries", "too many entries", "must refuse"),
    ("replaces invalid UTF-8", "an issuer that is not UTF-8", "must refuse"),
    ("skips unknown kinds", "an unknown kind", "must refuse"),
    ("believes any time", "a time beyond 64 bits", "must refuse"),
    ("believes any time", "a time before 1970", "must refuse"),
    ("ignores the issuer", "a token", "the verdict is Revoked"),
    ("ignores the issuer", "a session", "the verdict is Revoked"),
    ("ignores cut-offs of subjects", "a subject, up to the second of the cut-off", "the verdict is Accepted"),
    ("leaves out the second of the cut-off", "a subject, up to the second of the cut-off", "the verdict is Accepted"),
    ("leaves out the second of the cut-off", "everything, up to the second of the cut-off", "the verdict is Accepted"),
    ("compares fractions of a second", "a subject, up to the second of the cut-off", "the verdict is Accepted"),
    ("believes the last cut-off", "an earlier cut-off of the same subject changes nothing", "the verdict is Accepted"),
    ("takes a token without iat for new", "a token without iat is older than any cut-off", "the verdict is Accepted"),
    ("ignores keys", "a key, whenever the token was issued", "the verdict is Accepted"),
    ("ignores keys", "a key of another issuer", "the verdict is Accepted"),
    ("cuts keys off", "a key, whenever the token was issued", "the verdict is Accepted"),
    ("takes the claim kid for the header's", "a key, whenever the token was issued", "the verdict is Revoked"),
    ("ignores the issuer", "a key, whenever the token was issued", "the verdict is Revoked"),
    ("ignores the issuer", "a key of another issuer", "the verdict is Revoked"),
    ("ignores claims", "a claim, up to the second of the cut-off", "the verdict is Accepted"),
    ("ignores claims", "several claims of a token", "the verdict is Accepted"),
    ("ignores claims", "the longest claims", "the verdict is Accepted"),
    ("leaves out the second of the cut-off", "a claim, up to the second of the cut-off", "the verdict is Accepted"),
    ("compares fractions of a second", "a claim, up to the second of the cut-off", "the verdict is Accepted"),
    ("ignores the name of the claim", "a claim, up to the second of the cut-off", "the verdict is Revoked"),
    ("ignores the issuer", "a claim of another issuer", "the verdict is Revoked"),
    ("believes the last cut-off", "an earlier cut-off of the same claim changes nothing", "the verdict is Accepted"),
    ("takes a boolean for a number", "a claim that is a boolean", "the verdict is Accepted"),
    ("takes a boolean for a number", "a claim that is a whole number", "the verdict is Revoked"),
    ("knows no booleans", "a claim that is a boolean", "the verdict is Accepted"),
    ("rounds fractions", "a claim that is a whole number", "the verdict is Revoked"),
    ("writes numbers as they came", "a claim that is a whole number", "the verdict is Accepted"),
    ("writes numbers as they came", "a claim that is a text, compared byte by byte", "the verdict is Revoked"),
    ("believes large numbers", "numbers that not every reader reads exactly match nothing", "the verdict is Revoked"),
    ("does not look into arrays", "a claim that is an array, of which one element matches", "the verdict is Accepted"),
    ("looks into arrays in arrays", "a claim that is an array, of which one element matches", "the verdict is Revoked"),
    ("writes anything as JSON", "a claim that is an object or null matches nothing", "the verdict is Revoked"),
    ("believes any claim", "a claim that has a kind of its own", "must refuse"),
    ("believes any claim", "a claim without a value", "must refuse"),
    ("believes any claim", "a claim of 513 bytes", "must refuse"),
    ("accepts tokens without exp", "a token without exp is not accepted", "the verdict is Accepted"),
    ("ignores the case of names", "names of claims are compared byte by byte", "the verdict is"),
    ("ignores the case of names", "a member in other letters", "must refuse"),
    ("believes any time", "`expires_at` as a text", "must refuse"),
    ("reads the id of everything", "unknown members are ignored", "the verdict is Accepted"),
    (
        "compares fractions of a second",
        "a token has expired once its revocation may have been pruned",
        "the verdict is Accepted",
    ),
    (
        "compares whatever there is",
        "a claim that cannot be compared with an entry makes the token invalid",
        "the verdict is Accepted",
    ),
    ("ignores the mark", "a token has expired once its revocation may have been pruned", "the verdict is Accepted"),
    (
        "believes the last mark",
        "a token has expired once its revocation may have been pruned",
        "the verdict is Accepted",
    ),
];
