//! Explores every state of a model, and says what was found.

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
    /// For the test command: all models together in about a minute.
    Small,
    /// For `scripts/prove`: minutes each.
    Large,
}

/// What has to be found out about a variant of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No state breaks any property, and whatever should be possible is.
    Holds,
    /// A mutant: some state breaks this property.
    Breaks(&'static str),
}

/// A variant of a model: the protocol with certain bounds, or with one thing changed.
pub struct Case {
    /// The bounds, or what was changed.
    pub name: String,
    /// What has to be found.
    pub expected: Expected,
    explore: Box<dyn Fn(usize) -> Found>,
}

/// What was found about a variant of a model.
#[derive(Debug, Clone)]
pub struct Found {
    /// How many different states there are. Of a mutant, how many were seen until the property was broken.
    pub states: usize,
    /// The greatest number of steps to any of them.
    pub depth: usize,
    /// How long that took.
    pub time: Duration,
    /// The properties that are broken, each with the shortest way to a state that breaks it.
    pub broken: BTreeMap<&'static str, String>,
    /// What should be possible and is not: then the model may hold because it does too little.
    pub impossible: Vec<&'static str>,
}

impl Case {
    /// The protocol as it is, with these bounds.
    pub fn holds<M: Explorable>(bounds: impl Into<String>, model: M) -> Self {
        Self::new(bounds.into(), Expected::Holds, model)
    }

    /// A mutant, which breaks a property.
    pub fn breaks<M: Explorable>(mutant: impl Debug, property: &'static str, model: M) -> Self {
        Self::new(format!("{mutant:?}"), Expected::Breaks(property), model)
    }

    fn new<M: Explorable>(name: String, expected: Expected, model: M) -> Self {
        Self { name, expected, explore: Box::new(move |threads| explore(model.clone(), expected, threads)) }
    }

    /// Explores every state, breadth first; of a mutant those up to the first that breaks the expected property.
    #[must_use]
    pub fn explore(&self, threads: usize) -> Found {
        (self.explore)(threads)
    }

    /// Whether what was found is what had to be found.
    ///
    /// # Errors
    /// What differs, with the way to it.
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
