//! The result for a model and its mutants, as a row of a table.

use std::fmt;

use crate::{Case, Expected, Found, Size, Suite};

/// The result for a model: a row of the table in ARCHITECTURE.md, which has one more column.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    suite: Suite,
    states: usize,
    mutants: usize,
    found: usize,
}

/// Explores a model and its mutants, and passes each variant to `watch`.
///
/// # Errors
/// The unexpected results of all variants.
pub fn explore(suite: &Suite, size: Size, threads: usize, watch: impl Fn(&Case, &Found)) -> Result<Row, String> {
    let mut row = Row { suite: *suite, states: 0, mutants: 0, found: 0 };
    let mut errors = String::new();
    for case in (suite.cases)(size) {
        let found = case.explore(threads);
        watch(&case, &found);
        let outcome = case.judge(&found);
        match case.expected {
            Expected::Holds => row.states += found.states,
            Expected::Breaks(_) => {
                row.mutants += 1;
                row.found += usize::from(outcome.is_ok());
            }
        }
        if let Err(error) = outcome {
            errors = format!("{errors}{}: {error}\n", suite.name);
        }
    }
    if errors.is_empty() { Ok(row) } else { Err(errors) }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suite: Suite { name, keeps, .. }, states, mutants, found } = self;
        write!(formatter, "| `{name}` | {keeps} | {} | {found} of {mutants} |", grouped(*states))
    }
}

/// Returns a number with a comma before every three digits.
#[must_use]
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}
