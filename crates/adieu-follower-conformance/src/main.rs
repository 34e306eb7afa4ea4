//! Judges a follower of an adieu node, in any language.
//!
//! Plays a node on loopback, good and bad, and runs the follower as a child process for each case. The child gets `ADIEU_URL`,
//! `ADIEU_CLIENT`, `ADIEU_SECRET` and `ADIEU_MAX_STALENESS_MS`, follows, and answers questions: each line of its standard input
//! is `{"claims": {…}}`, and each line of its standard output the verdict on a token with these claims: `"accepted"`,
//! `"revoked"`, `"invalid"` or `"stale"`. The program decides by what the follower requests, and by its verdicts. Time decides
//! only where the bound does: past it, no token may be accepted.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod case;
mod cases;
mod follower;
mod node;
mod page;
mod trial;

use std::{
    process::ExitCode,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use case::Case;
use trial::Outcome;

const USAGE: &str = "\
usage: adieu-follower-conformance [--only CASE]... [--jobs N] [--limit SECONDS] [--quiet] -- COMMAND [ARGUMENT]...
       adieu-follower-conformance --list

Runs COMMAND once for each case. Its exit status is 0 if the follower passes all of them.

  --only CASE      runs this case; may be repeated
  --jobs N         runs N cases at once, 8 by default: most of the time, a case waits
  --limit SECONDS  how long an event may take, 60 by default
  --quiet          prints only the cases that fail, and the summary
  --list           prints the names of the cases";

#[derive(Debug)]
struct Arguments {
    list: bool,
    quiet: bool,
    only: Vec<String>,
    jobs: usize,
    limit: Duration,
    command: Vec<String>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            list: false,
            quiet: false,
            only: Vec::new(),
            jobs: 8,
            limit: Duration::from_secs(60),
            command: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => parsed.list = true,
                "--quiet" => parsed.quiet = true,
                "--only" => parsed.only.push(arguments.next().ok_or("--only needs the name of a case")?),
                "--jobs" => parsed.jobs = number(&argument, arguments.next())?,
                "--limit" => parsed.limit = Duration::from_secs(number(&argument, arguments.next())?),
                "--" => {
                    parsed.command = arguments.collect();
                    break;
                }
                other => return Err(format!("unexpected argument {other:?}")),
            }
        }
        if parsed.command.is_empty() && !parsed.list {
            return Err("the command of the follower is missing".to_owned());
        }
        Ok(parsed)
    }
}

fn number<N: FromStr + PartialOrd + From<u8>>(name: &str, value: Option<String>) -> Result<N, String> {
    let number = value.and_then(|value| value.parse().ok()).filter(|number| *number >= N::from(1));
    number.ok_or_else(|| format!("{name} needs a number of at least 1"))
}

fn main() -> ExitCode {
    let chosen = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        let mut cases = cases::all();
        if let Some(unknown) = arguments.only.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
            return Err(format!("there is no case {unknown:?}"));
        }
        cases.retain(|case| arguments.only.is_empty() || arguments.only.iter().any(|name| case.name == name));
        Ok((arguments, cases))
    });
    let (arguments, cases) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        for case in &cases {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    }
    match judge(&cases, &arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// How many cases passed, do not apply, and failed; and why the follower could not be started.
#[derive(Default)]
struct Tally {
    passed: usize,
    other_form: usize,
    failed: usize,
    error: Option<String>,
}

/// Runs the cases, prints a line for each and a summary, and returns how many failed.
fn judge(cases: &[Case], arguments: &Arguments) -> Result<usize, String> {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = trial::run(case, &arguments.command, arguments.limit);
            let mut tally = lock();
            match outcome {
                Ok(outcome) => tally.add(case, &outcome, arguments.quiet),
                Err(error) => {
                    tally.error = Some(error);
                    next.store(cases.len(), Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.min(cases.len()) {
            scope.spawn(work);
        }
    });
    let Tally { passed, other_form, failed, error } = std::mem::take(&mut *lock());
    if let Some(error) = error {
        return Err(error);
    }
    println!("{passed} passed, {failed} failed, {other_form} not applicable");
    Ok(failed)
}

impl Tally {
    fn add(&mut self, case: &Case, outcome: &Outcome, quiet: bool) {
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                if !quiet {
                    println!("ok      {}", case.name);
                }
            }
            Outcome::OtherForm => {
                self.other_form += 1;
                if !quiet {
                    println!("n/a     {}: not in the form that the follower accepts", case.name);
                }
            }
            Outcome::Failed { why, stderr } => {
                self.failed += 1;
                println!("FAILED  {}: {why}", case.name);
                for line in stderr.lines() {
                    println!("        | {line}");
                }
            }
        }
    }
}
