//! Explores every state of a model and reports the result.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Write as _},
    hash::Hash,
    time::{Duration, Instant},
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// A model whose states can be explored.
pub trait Explorable:
    Model<
        State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        Action: Clone + Debug + PartialEq + Send + Sync + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<M> Explorable for M
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync + 'static,
{
}

/// How large the bounds of a model are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For `scripts/test`: about a minute for all models together.
    Small,
    /// For `scripts/prove`: minutes per model.
    Large,
}

/// The expected result for a variant of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No state breaks a property, and everything that must be possible is possible.
    Holds,
    /// A mutant: some state breaks this property.
    Breaks(&'static str),
}

/// A variant of a model: the protocol with certain bounds, or with one change.
pub struct Case {
    /// The bounds, or the change.
    pub name: String,
    /// The expected result.
    pub expected: Expected,
    explore: Box<dyn Fn(usize) -> Found>,
}

/// The result for a variant of a model.
#[derive(Debug, Clone)]
pub struct Found {
    /// The number of different states; for a mutant, the number that was explored until the property was broken.
    pub states: usize,
    /// The maximum number of steps to a state.
    pub depth: usize,
    /// The duration of the exploration.
    pub time: Duration,
    /// The broken properties, each with the shortest path to a state that breaks it.
    pub broken: BTreeMap<&'static str, String>,
    /// The properties that must be possible and are not: the model may hold because it does too little.
    pub impossible: Vec<&'static str>,
}

impl Case {
    /// Returns the protocol itself, with these bounds.
    pub fn holds<M: Explorable>(bounds: impl Into<String>, model: M) -> Self {
        Self::new(bounds.into(), Expected::Holds, model)
    }

    /// Returns a mutant, which must break the property.
    pub fn breaks<M: Explorable>(mutant: impl Debug, property: &'static str, model: M) -> Self {
        Self::new(format!("{mutant:?}"), Expected::Breaks(property), model)
    }

    fn new<M: Explorable>(name: String, expected: Expected, model: M) -> Self {
        Self { name, expected, explore: Box::new(move |threads| explore(model.clone(), expected, threads)) }
    }

    /// Explores every state, breadth first; for a mutant, the states up to the first that breaks the expected property.
    #[must_use]
    pub fn explore(&self, threads: usize) -> Found {
        (self.explore)(threads)
    }

    /// Checks that the result is the expected one.
    ///
    /// # Errors
    /// The difference, with the path to it.
    pub fn judge(&self, found: &Found) -> Result<(), String> {
        match self.expected {
            Expected::Holds if !found.broken.is_empty() => {
                Err(found.broken.iter().fold(String::new(), |text, (property, path)| {
                    format!("{text}{}: broken property `{property}`:\n{path}", self.name)
                }))
            }
            Expected::Holds if !found.impossible.is_empty() => {
                Err(format!("{}: never reached: {:?}", self.name, found.impossible))
            }
            Expected::Breaks(property) if !found.broken.contains_key(property) => {
                Err(format!("the mutant {} was not found: `{property}` holds in {} states", self.name, found.states))
            }
            _ => Ok(()),
        }
    }
}

fn explore<M: Explorable>(model: M, expected: Expected, threads: usize) -> Found {
    let begun = Instant::now();
    let expectations: Vec<_> = model.properties().into_iter().map(|known| (known.name, known.expectation)).collect();
    let mut checker = model.checker().threads(threads);
    if let Expected::Breaks(property) = expected {
        checker = checker.finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property])));
    }
    let checker = checker.spawn_bfs().join();
    let mut discoveries = checker.discoveries();
    let mut found = Found {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        time: begun.elapsed(),
        broken: BTreeMap::new(),
        impossible: Vec::new(),
    };
    for (property, expectation) in expectations {
        match (expectation, discoveries.remove(property)) {
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let mut text = String::new();
                for (state, action) in path.into_vec() {
                    let _ = match action {
                        Some(action) => writeln!(text, "    {action:?}"),
                        None => writeln!(text, "    {state:?}"),
                    };
                }
                found.broken.insert(property, text);
            }
            (Expectation::Sometimes, None) => found.impossible.push(property),
            _ => {}
        }
    }
    found
}
