//! Every model holds, every mutant is found, and the table in ARCHITECTURE.md has the right numbers.

use protocol_models::{SUITES, Size, explore};

#[allow(clippy::panic)]
fn holds_and_every_mutant_is_found(name: &str) {
    let suites: Vec<_> = SUITES.iter().filter(|suite| suite.name == name).collect();
    assert_eq!(suites.len(), 1, "no model {name}");
    for suite in suites {
        let row = explore(suite, Size::Small, 1, |_, _| ()).unwrap_or_else(|error| panic!("{error}")).to_string();
        let documented =
            include_str!("../../ARCHITECTURE.md").lines().find(|line| line.starts_with(&format!("| `{name}` ")));
        let numbers = |line: &str| line.split('|').rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(documented.map(numbers), Some(numbers(&row)), "the row of ARCHITECTURE.md is to end as {row}");
    }
}

/// Generates one test per model, and a test that every model has one.
macro_rules! models {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            holds_and_every_mutant_is_found(stringify!($name));
        })*

        #[test]
        fn every_model_is_tested() {
            assert_eq!([$(stringify!($name)),*], SUITES.map(|suite| suite.name));
        }
    };
}

models!(freshness, everywhere, relays, members, tail, failover, processes, staged_restore, pruning, keys, sessions);
