//! Every model holds, and every mutant of it is found.

use protocol_models::{SUITES, Size};

fn holds_and_every_mutant_is_found(name: &str) {
    let suites: Vec<_> = SUITES.iter().filter(|suite| suite.name == name).collect();
    assert_eq!(suites.len(), 1, "no model {name}");
    for case in suites.iter().flat_map(|suite| (suite.cases)(Size::Small)) {
        let outcome = case.judge(&case.explore(1));
        assert!(outcome.is_ok(), "{}", outcome.err().unwrap_or_default());
    }
}

/// One test of each model, and none is forgotten.
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
