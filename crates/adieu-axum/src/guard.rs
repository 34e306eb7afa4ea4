//! What the extractors of a router ask.

use std::{fmt, sync::Arc};

use adieu::{
    Node,
    session::Sessions,
    token::{Claims, Verifier},
};
use axum::extract::FromRef;

use crate::{
    Reason, Refused,
    refused::{CourseAnswers, RefusalAnswers},
};

/// What every extractor of a router asks: what verifies, and how a refusal is answered. Cheap to clone.
///
/// A router whose state gives one ([`FromRef`]) can have handlers that take tokens. These give one as they are: an
/// `Arc<Sessions>`, an `Arc<Node>`, an `Arc<Verifier>` (of a service that only follows another node), and a `Guard`.
///
/// ```
/// # use std::sync::Arc;
/// # use adieu::{Node, session::Sessions};
/// # use adieu_axum::Guard;
/// # use axum::extract::FromRef;
/// #[derive(Clone)]
/// struct App {
///     guard: Guard,
///     sessions: Arc<Sessions>,
/// }
///
/// impl FromRef<App> for Guard {
///     fn from_ref(app: &App) -> Guard {
///         app.guard.clone()
///     }
/// }
///
/// fn app(node: &Node) -> App {
///     App { guard: Guard::of(node.sessions()), sessions: Arc::clone(node.sessions()) }
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Guard {
    source: Source,
    settings: Arc<Settings>,
}

#[derive(Clone)]
enum Source {
    Verifier(Arc<Verifier>),
    Sessions(Arc<Sessions>),
}

#[derive(Clone)]
struct Settings {
    answers: Arc<dyn RefusalAnswers>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answers: Arc::new(CourseAnswers) }
    }
}

impl Guard {
    /// A guard of a node that only verifies: it follows another one and has no sessions.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self { source: Source::Verifier(verifier), settings: Arc::default() }
    }

    /// A guard of a node with sessions. Also notes when a session is used; see [`Sessions::note_use`].
    pub fn of(sessions: &Arc<Sessions>) -> Self {
        Self { source: Source::Sessions(Arc::clone(sessions)), settings: Arc::default() }
    }

    /// How refusals are answered: [`CourseAnswers`] unless something else is set.
    pub fn answer_refusals(mut self, answers: impl RefusalAnswers) -> Self {
        self.change().answers = Arc::new(answers);
        self
    }

    /// What verifies.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        match &self.source {
            Source::Verifier(verifier) => verifier,
            Source::Sessions(sessions) => sessions.verifier(),
        }
    }

    /// The refusal of a request for this reason, to be answered as this guard has it.
    #[must_use]
    pub fn refuse(&self, reason: impl Into<Reason>) -> Refused {
        Refused::new(reason.into(), Arc::clone(&self.settings.answers))
    }

    /// Notes that a token was used, where there are sessions to note it for.
    pub(crate) fn note_use(&self, claims: &Claims) {
        if let Source::Sessions(sessions) = &self.source {
            sessions.note_use(claims);
        }
    }

    fn change(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl From<&Node> for Guard {
    fn from(node: &Node) -> Self {
        Self::of(node.sessions())
    }
}

impl FromRef<Arc<Sessions>> for Guard {
    fn from_ref(sessions: &Arc<Sessions>) -> Self {
        Self::of(sessions)
    }
}

impl FromRef<Arc<Node>> for Guard {
    fn from_ref(node: &Arc<Node>) -> Self {
        Self::of(node.sessions())
    }
}

impl FromRef<Arc<Verifier>> for Guard {
    fn from_ref(verifier: &Arc<Verifier>) -> Self {
        Self::new(Arc::clone(verifier))
    }
}

/// A state of a router that has a [`Guard`] to give: whatever `Guard` implements [`FromRef`] for.
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` has no `Guard` to give, so no handler below it can take a token",
    label = "this state has no `Guard`",
    note = "give the router a state that has one with `.with_state(…)`: an `Arc<Sessions>`, an `Arc<Node>`, an \
            `Arc<Verifier>`, a `Guard`, or a type of yours with `impl FromRef<{Self}> for Guard`",
    note = "`#[derive(axum::extract::FromRef)]` on the state writes that for each of its fields"
)]
pub trait GuardedState: Send + Sync {
    /// The guard.
    fn guard(&self) -> Guard;
}

#[diagnostic::do_not_recommend]
impl<S> GuardedState for S
where
    S: Send + Sync,
    Guard: FromRef<S>,
{
    fn guard(&self) -> Guard {
        Guard::from_ref(self)
    }
}

/// A state of a router that has sessions to give: whatever `Arc<Sessions>` implements [`FromRef`] for.
#[diagnostic::on_unimplemented(
    message = "the state `{Self}` has no `Arc<Sessions>` to give, which is needed for logging in, refreshing and logging out",
    label = "this state has no `Arc<Sessions>`",
    note = "give the router a state that has them with `.with_state(…)`: an `Arc<Sessions>`, or a type of yours with \
            `impl FromRef<{Self}> for Arc<Sessions>`; a node that only follows another one has none"
)]
pub trait SessionState: GuardedState {
    /// The sessions.
    fn sessions(&self) -> Arc<Sessions>;
}

#[diagnostic::do_not_recommend]
impl<S> SessionState for S
where
    S: GuardedState,
    Arc<Sessions>: FromRef<S>,
{
    fn sessions(&self) -> Arc<Sessions> {
        Arc::from_ref(self)
    }
}
