//! Explores the models and prints a table: for each, the promises that it keeps, its number of states, and the mutants found.
//!
//! Arguments are names of models, to explore only these; `--large` also explores the larger bounds, `--all` prints a line per variant.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{process::ExitCode, thread};

use protocol_models::{Case, Expected, Found, SUITES, Size, explore, grouped};

fn main() -> ExitCode {
    let (options, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| !["--large", "--all"].contains(&option.as_str())) {
        eprintln!("unknown option {unknown}; there are --large and --all");
        return ExitCode::FAILURE;
    }
    if let Some(unknown) = names.iter().find(|name| SUITES.iter().all(|suite| suite.name != name.as_str())) {
        eprintln!("unknown model {unknown}; there are {}", SUITES.map(|suite| suite.name).join(", "));
        return ExitCode::FAILURE;
    }
    let has = |name: &str| options.iter().any(|option| option == name);
    let size = if has("--large") { Size::Large } else { Size::Small };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let watch = |case: &Case, found: &Found| {
        if has("--all") {
            eprintln!("{}", line(case, found));
        }
    };
    println!("| model | keeps | states | mutants found |\n|---|---|---|---|");
    let mut is_good = true;
    for suite in SUITES.iter().filter(|suite| names.is_empty() || names.iter().any(|name| name == suite.name)) {
        match explore(suite, size, threads, watch) {
            Ok(row) => println!("{row}"),
            Err(errors) => {
                eprint!("{errors}");
                is_good = false;
            }
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn line(case: &Case, found: &Found) -> String {
    let expected = match case.expected {
        Expected::Holds => "holds".to_owned(),
        Expected::Breaks(property) => format!("breaks \"{property}\""),
    };
    let (states, depth, seconds) = (grouped(found.states), found.depth, found.time.as_secs_f32());
    format!("  {:<40} {expected:<52} {states:>12} states, {depth:>2} steps, {seconds:>5.1} s", case.name)
}
