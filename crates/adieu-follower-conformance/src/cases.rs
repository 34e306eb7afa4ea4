//! All cases.

mod bound;
mod logs;
mod matching;
mod wrong;

use crate::case::{Case, Step};

/// Returns all cases: which tokens an entry revokes, how the log continues, wrong answers, and the bound.
pub(crate) fn all() -> Vec<Case> {
    [matching::cases(), logs::cases(), wrong::cases(), bound::cases()].concat()
}

fn case(name: &'static str, steps: Vec<Step>) -> Case {
    Case { name, form: None, steps }
}
