//! The contract between sessions and whatever keeps them.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Issuer, SessionId, Subject, TokenId,
    revocation::{Pruned, Revocation, Target},
    time::Timestamp,
};

/// One login on one device: the only thing that is kept of it, whatever the number of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its `sid`.
    pub id: SessionId,
    /// Who logged in.
    pub subject: Subject,
    /// When.
    pub created_at: Timestamp,
    /// When it was last used, as far as has been written down; behind by up to a minute.
    pub last_seen_at: Timestamp,
    /// From where it logged in.
    pub origin: Origin,
    /// The `jti` of the refresh token that is good now.
    pub refresh_id: TokenId,
    /// The `jti` of the one before it. It gets the one that is good now again, at any time: its successor has not been used,
    /// and perhaps never arrived.
    pub previous_refresh_id: Option<TokenId>,
    /// The one before that, whose successor has been used: it is forgiven within the grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_refresh: Option<UsedRefresh>,
    /// When the refresh token was last rotated: the `iat` of the one that is good now.
    pub refreshed_at: Timestamp,
    /// `exp` of the refresh token: an idle session ends then.
    pub refresh_expires_at: Timestamp,
    /// The absolute end, whatever is refreshed.
    pub expires_at: Timestamp,
    /// The latest `exp` of any of its access tokens.
    pub access_expires_at: Timestamp,
}

/// A refresh token that was used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRefresh {
    /// Its `jti`.
    pub id: TokenId,
    /// When it was used for the first time.
    pub at: Timestamp,
}

/// Where a session is among all there are: the place that [`SessionStore::sessions`] goes on from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// Who logged in.
    pub subject: Subject,
    /// Its `sid`.
    pub id: SessionId,
}

impl Session {
    /// Where it is among all there are.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey { subject: self.subject.clone(), id: self.id.clone() }
    }

    /// Whether it can still be refreshed.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.refresh_expires_at
    }

    /// When its last token will have expired.
    #[must_use]
    pub fn last_expiry(&self) -> Timestamp {
        self.refresh_expires_at.max(self.access_expires_at)
    }

    /// The fact that this session has ended, kept until its last access token has expired.
    #[must_use]
    pub fn revocation(&self, issuer: &Issuer) -> Revocation {
        Revocation {
            issuer: issuer.clone(),
            target: Target::Session { id: self.id.clone() },
            lapses_at: Revocation::lapse_for(self.access_expires_at),
        }
    }
}

/// Where a login came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub user_agent: Option<String>,
}

impl Origin {
    /// The longest `User-Agent` that is kept, in characters.
    const MAX_USER_AGENT: usize = 256;

    /// Returns the origin of a request from this address and with this `User-Agent`, shortened and without control characters.
    #[must_use]
    pub fn of_request(address: Option<IpAddr>, user_agent: Option<&[u8]>) -> Self {
        let user_agent = user_agent.map(|value| {
            let letters = String::from_utf8_lossy(value);
            letters.chars().filter(|letter| !letter.is_control()).take(Self::MAX_USER_AGENT).collect()
        });
        Self { address, user_agent }
    }
}

/// A refresh, to be decided by the store in one step.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Whose tokens: the `iss` of the revocation when this turns out to be reuse.
    pub issuer: Issuer,
    /// Who the refresh token that was presented is of.
    pub subject: Subject,
    /// Its session.
    pub session: SessionId,
    /// What was presented.
    pub presented: Presented,
    /// The `jti` that takes its place.
    pub successor: TokenId,
    /// When this happens.
    pub now: Timestamp,
    /// Since when a refresh token must have been used up to be forgiven although its successor has been used; `None` forgives
    /// nothing, whether the successor has been used or not.
    pub forgiven_since: Option<Timestamp>,
    /// `exp` of the new access token. Never later than the session's end.
    pub access_expires_at: Timestamp,
    /// `exp` of the new refresh token. Never later than the session's end.
    pub refresh_expires_at: Timestamp,
}

/// What a new token is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A refresh token with this `jti`.
    Refresh(TokenId),
    /// An access token that was found good: there is another access token, and the refresh token stays as it is.
    Access,
}

impl From<TokenId> for Presented {
    fn from(refresh_id: TokenId) -> Self {
        Self::Refresh(refresh_id)
    }
}

/// What became of a [`Rotation`].
#[derive(Debug, Clone)]
pub enum Rotated {
    /// The presented token was the current one; the successor is now.
    Fresh(Session),
    /// The presented token is forgiven, or an access token: the current refresh token still is.
    WithinGrace(Session),
    /// The presented token was rotated before: somebody else has it. The session has ended, by this revocation.
    Reused(Box<Session>, Revocation),
    /// There is no such session, or it has expired.
    Ended,
}

impl Rotation {
    /// Decides it. Every store asks this one function, inside whatever makes its step atomic, and writes down the
    /// session that comes with [`Rotated::Fresh`] or [`Rotated::WithinGrace`].
    ///
    /// Of the tokens that were used up, the last two can be forgiven. The grace is shorter than an access token lives, so that
    /// no client that waits for one to expire comes back with an older one; a thief would (RFC 9700 §4.14.2).
    #[must_use]
    pub fn decide(&self, session: Option<Session>) -> Rotated {
        let Some(mut session) = session else { return Rotated::Ended };
        if !session.is_live(self.now) {
            return Rotated::Ended;
        }
        let access_expires_at = self.access_expires_at.min(session.expires_at);
        let Presented::Refresh(presented) = &self.presented else {
            session.access_expires_at = session.access_expires_at.max(access_expires_at);
            return Rotated::WithinGrace(session);
        };
        if session.refresh_id == *presented {
            let used = std::mem::replace(&mut session.refresh_id, self.successor.clone());
            let before = session.previous_refresh_id.replace(used);
            session.used_refresh = before.map(|id| UsedRefresh { id, at: session.refreshed_at });
            session.refreshed_at = self.now;
            session.last_seen_at = session.last_seen_at.max(self.now);
            session.refresh_expires_at = self.refresh_expires_at.min(session.expires_at);
            session.access_expires_at = session.access_expires_at.max(access_expires_at);
            return Rotated::Fresh(session);
        }
        let is_forgiven = self.forgiven_since.is_some_and(|since| {
            session.previous_refresh_id.as_ref() == Some(presented)
                || session.used_refresh.as_ref().is_some_and(|used| used.id == *presented && used.at >= since)
        });
        if is_forgiven {
            session.access_expires_at = session.access_expires_at.max(access_expires_at);
            return Rotated::WithinGrace(session);
        }
        let revocation = session.revocation(&self.issuer);
        Rotated::Reused(Box::new(session), revocation)
    }
}

/// Which sessions end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This one, whoever it is of; which a store may have to search for.
    One(SessionId),
    /// This one, if it is of this subject. What a token says: no store has to search for it.
    Owned(SessionId, Subject),
    /// All of a subject's.
    OfSubject(Subject),
    /// All of a subject's but one.
    Others(Subject, SessionId),
    /// All there are. Only those that were refreshed after `issued_until` get a revocation of their own; a cut-off
    /// among [`EndSessions::extra_revocations`] covers the rest.
    All {
        /// The cut-off.
        issued_until: Timestamp,
    },
    /// None: only what is in [`EndSessions::extra_revocations`].
    Nothing,
}

/// Sessions to be ended, in one step.
#[derive(Debug, Clone)]
pub struct EndSessions {
    /// The `iss` of the revocations.
    pub issuer: Issuer,
    /// Which.
    pub selection: Selection,
    /// Do nothing unless this session of this subject is there.
    pub only_if: Option<(SessionId, Subject)>,
    /// Revocations to append in the same step. A cut-off among them is kept at least as long as the revocation of any
    /// session that is ended with it. That of a session is left out when the session is ended, which gives it a revocation of
    /// its own: it is for a session that is not there.
    pub extra_revocations: Vec<Revocation>,
}

/// What an [`EndSessions`] did.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// How many sessions ended.
    pub sessions: usize,
    /// What was appended to the log.
    pub revocations: Vec<Revocation>,
}

impl EndSessions {
    /// The revocations that go with ending these sessions.
    #[must_use]
    pub fn revocations(&self, ended: &[Session]) -> Ended {
        let longest = ended.iter().map(|session| Revocation::lapse_for(session.access_expires_at)).max();
        let sessions = ended.iter().filter(|session| match self.selection {
            Selection::All { issued_until } => session.refreshed_at > issued_until,
            _ => true,
        });
        let is_ended = |revocation: &&Revocation| match &revocation.target {
            Target::Session { id } if revocation.issuer == self.issuer => ended.iter().any(|session| session.id == *id),
            _ => false,
        };
        let also =
            self.extra_revocations.iter().filter(|revocation| !is_ended(revocation)).cloned().map(|mut revocation| {
                if matches!(revocation.target, Target::Subject { .. } | Target::Everything { .. }) {
                    revocation.lapses_at = revocation.lapses_at.max(longest.unwrap_or_default());
                }
                revocation
            });
        Ended {
            sessions: ended.len(),
            revocations: sessions.map(|session| session.revocation(&self.issuer)).chain(also).collect(),
        }
    }
}

/// Keeps sessions, beside the log that their revocations go to.
///
/// What an implementation promises:
///
/// 1. **One step.** Each call is one atomic, durable step; of two that concern the same session one comes first, and the other
///    sees what it did, whichever process it is in. So a refresh token is rotated once, and whatever ends a session knows the
///    last access token that it was given. Only [`Selection::All`] may be several steps, since there may be millions: the cut-off goes
///    into the log first, and whatever is ended later has a revocation of its own where the cut-off does not cover it.
/// 2. **Together with the log.** A session is gone and its revocation there in one commit, in the log that is the same store's.
///    There is no moment, and no crash, between the two.
/// 3. **Nothing of its own.** What a rotation does is what [`Rotation::decide`] says, and what is appended is what
///    [`EndSessions::revocations`] says, both asked inside the step. No clock is asked: times are handed in.
/// 4. **As it was.** Every field comes back as it was; ids may have any characters, NUL included, and are compared and ordered
///    byte by byte, whatever the collation of a database.
///
/// After an error, or when the call is dropped, the step has been taken or not, whole. `adieu-conformance` tries all of this with an engine of yours.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Keeps a new session. Its id is new, since ids are drawn at random; the same session again, as of a caller who tries
    /// again, stays one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn create(&self, session: Session) -> Result<(), Error>;

    /// Decides a rotation with [`Rotation::decide`] and writes down what it decided; for reuse that is the end of the
    /// session and its revocation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error>;

    /// Removes sessions and appends their revocations, as [`EndSessions::revocations`] has them, in one step. `None` when
    /// the session that it was provided on is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written: then nothing is promised, and nobody may be told
    /// that the session has ended.
    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error>;

    /// Carries out several [`SessionStore::end`]s, in order and in one step: each sees what those before it did, and nobody sees
    /// some of them done and others not. They may be thousands.
    ///
    /// # Errors
    /// As [`SessionStore::end`], for all of them: none is done, or nobody knows and then all are or none.
    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error>;

    /// One session, whoever it is of; which a store may have to search for.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error>;

    /// The sessions of a subject in the order of their ids, which with [`SessionId::random`] is oldest first. At most `limit`,
    /// those after `after`, which need not be there any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn sessions_of(
        &self,
        subject: &Subject,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, Error>;

    /// Everybody's sessions: those of a subject together, as [`SessionStore::sessions_of`] has them, and the subjects in an order
    /// that is the engine's and never changes. At most `limit`, those after `after`, which need not be there any more; a store
    /// looks at no others. So with pages that go on where the last one ended, a session that is there all the time is seen once,
    /// whatever comes and goes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error>;

    /// Of all sessions the one whose id is the first, which with [`SessionId::random`] is the oldest; for which a store may have
    /// to search.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn oldest(&self) -> Result<Option<Session>, Error>;

    /// When the last token of any session will have expired; zero when there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be read.
    async fn latest_expiry(&self) -> Result<Timestamp, Error>;

    /// Notes when sessions were last used, unless something later was noted before. Those that are not there, or of another
    /// subject, are passed over. They may be thousands.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error>;

    /// Forgets some of the sessions whose every token has expired at `now` ([`Session::last_expiry`] before it), in a small step.
    /// Nothing is appended: what has expired needs no revocation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store could not be written.
    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error>;
}
