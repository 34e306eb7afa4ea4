//! A run of one case.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    case::{BOUND, Case, Claims, Step, Verdict},
    follower::Follower,
    node::{Node, State},
};

/// The delay between two questions about the same token.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// How long after the bound the follower is asked: clocks are compared in whole milliseconds.
const AFTER_BOUND: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// The follower accepts only the form in which the case does not exist.
    OtherForm,
    Failed {
        why: String,
        stderr: String,
    },
}

/// Runs a case with a follower of its own. An event may take up to `limit`.
///
/// # Errors
/// If the follower can't be started.
pub(crate) fn run(case: &Case, command: &[String], limit: Duration) -> Result<Outcome, String> {
    let node = Node::start().map_err(|error| format!("no node can be started: {error}"))?;
    let mut follower = Follower::start(command, node.address, node.when_ended())?;
    let mut is_other_form = false;
    let mut result = Ok(());
    for (place, step) in case.steps.iter().enumerate() {
        result = take(step, &node, &mut follower, limit);
        if let Some(mistake) = node.read(|state| state.mistakes.first().cloned()) {
            result = Err(mistake);
        }
        if let Err(why) = &result {
            result = Err(format!("step {} of {}, {}: {why}", place + 1, case.steps.len(), named(step)));
            break;
        }
        is_other_form = case.form.is_some() && node.read(|state| state.form.is_some() && state.form != case.form);
        if is_other_form {
            break;
        }
    }
    Ok(match result {
        Err(why) => Outcome::Failed { why, stderr: follower.said() },
        Ok(()) if is_other_form => Outcome::OtherForm,
        Ok(()) => Outcome::Passed,
    })
}

/// Returns a step in a few words.
fn named(step: &Step) -> String {
    let mut text = format!("{step:?}");
    if let Some((end, _)) = text.char_indices().nth(160) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn take(step: &Step, node: &Node, follower: &mut Follower, limit: Duration) -> Result<(), String> {
    match step {
        Step::Serve(answer) => node.change(|state| (state.answer, state.requests) = (*answer, 0)),
        Step::Append(entries) => node.change_log(|state| state.entries.extend_from_slice(entries)),
        Step::PageSize(size) => node.change(|state| state.page_size = *size),
        Step::Age(age) => node.change(|state| state.age_ms = *age),
        Step::Prune(through) => node.change_log(|state| state.pruned_through = *through),
        Step::ReplaceLog => node.change_log(|state| {
            state.log += 1;
            state.entries.clear();
        }),
        Step::PutBack => node.change_log(|state| state.entries.clear()),
        Step::Answered(count) => {
            let has_come = node.wait(limit, |state| state.requests > *count);
            return has_come.then_some(()).ok_or_else(|| format!("there is no further request within {limit:?}"));
        }
        Step::Acknowledged => {
            let is_done = node.wait(limit, |state| state.acknowledged == state.end());
            return is_done.then_some(()).ok_or_else(|| "it does not acknowledge the log".to_owned());
        }
        Step::PastBound => {
            let Some(complete_at) = node.read(|state| state.complete_at) else { return Ok(()) };
            thread::sleep((complete_at + BOUND + AFTER_BOUND).saturating_duration_since(Instant::now()));
        }
        Step::Until(claims, verdict) => return until(node, follower, claims, *verdict, limit),
        Step::Never(claims) => {
            return match follower.ask(claims, limit)?.as_str() {
                "accepted" => Err("it accepts the token".to_owned()),
                _ => Ok(()),
            };
        }
    }
    Ok(())
}

fn until(
    node: &Node,
    follower: &mut Follower,
    claims: &Claims,
    expected: Verdict,
    limit: Duration,
) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let is_known = node.read(State::is_known);
        let verdict = match follower.ask(claims, limit)?.as_str() {
            "accepted" => Verdict::Accepted,
            "revoked" => Verdict::Revoked,
            "invalid" => Verdict::Rejected,
            "stale" => Verdict::Stale,
            other => return Err(format!("{other:?} is not a verdict")),
        };
        let is_rejected = expected == Verdict::Rejected && verdict == Verdict::Revoked;
        if verdict == expected || is_rejected {
            return Ok(());
        }
        // Nothing un-revokes, and a known revocation is not ignored later: there is nothing to wait for.
        let is_final = if verdict == Verdict::Accepted { is_known } else { verdict != Verdict::Stale };
        if is_final || started.elapsed() > limit {
            return Err(format!("the verdict is {verdict:?}"));
        }
        if node.read(|state| !state.mistakes.is_empty()) {
            return Ok(());
        }
        thread::sleep(ASK_INTERVAL);
    }
}
