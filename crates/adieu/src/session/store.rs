//! The contract between sessions and their store.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Issuer, SessionId, Subject, TokenId,
    revocation::{Pruned, Revocation, Target},
    time::Timestamp,
};

/// One login on one device. A store keeps one such row per session, whatever the number of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The id of the session (`sid`).
    pub id: SessionId,
    /// The user or client that logged in.
    pub subject: Subject,
    /// The time of the login.
    pub created_at: Timestamp,
    /// The time of the last recorded use; up to a minute behind.
    pub last_seen_at: Timestamp,
    /// The address and client that logged in.
    pub origin: Origin,
    /// The `jti` of the current refresh token.
    pub refresh_id: TokenId,
    /// The `jti` of the refresh token before the current one. Because the current one is still unused, and may never
    /// have reached the client, presenting the previous one returns the current one again, at any time.
    pub previous_refresh_id: Option<TokenId>,
    /// The refresh token before [`previous_refresh_id`](Self::previous_refresh_id). Its successor has been used, so it
    /// is accepted only within the grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_refresh: Option<UsedRefresh>,
    /// The time of the last rotation: the `iat` of the current refresh token.
    pub refreshed_at: Timestamp,
    /// The `exp` of the refresh token. An idle session ends then.
    pub refresh_expires_at: Timestamp,
    /// The time at which the session ends, however often it is refreshed.
    pub expires_at: Timestamp,
    /// The latest `exp` of any access token of the session.
    pub access_expires_at: Timestamp,
}

/// A refresh token that has been used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRefresh {
    /// The `jti` of the token.
    pub id: TokenId,
    /// The time of the first use.
    pub at: Timestamp,
}

/// The position of a session in the order of [`SessionStore::sessions`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The subject of the session.
    pub subject: Subject,
    /// The id of the session (`sid`).
    pub id: SessionId,
}

impl Session {
    /// Returns the position of this session among all sessions.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey { subject: self.subject.clone(), id: self.id.clone() }
    }

    /// Returns whether the session can still be refreshed.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.refresh_expires_at
    }

    /// Returns when the last token of the session expires.
    #[must_use]
    pub fn last_expiry(&self) -> Timestamp {
        self.refresh_expires_at.max(self.access_expires_at)
    }

    /// Returns the revocation of this session, kept until its last access token has expired.
    #[must_use]
    pub fn revocation(&self, issuer: &Issuer) -> Revocation {
        Revocation {
            issuer: issuer.clone(),
            target: Target::Session { id: self.id.clone() },
            lapses_at: Revocation::lapse_for(self.access_expires_at),
        }
    }
}

/// The origin of a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// The `User-Agent` of the client.
    pub user_agent: Option<String>,
}

impl Origin {
    /// The maximum stored length of a `User-Agent`, in characters.
    const MAX_USER_AGENT: usize = 256;

    /// Returns the origin of a request from this address and with this `User-Agent`, which is shortened and stripped of
    /// control characters.
    #[must_use]
    pub fn of_request(address: Option<IpAddr>, user_agent: Option<&[u8]>) -> Self {
        let user_agent = user_agent.map(|value| {
            let letters = String::from_utf8_lossy(value);
            letters.chars().filter(|letter| !letter.is_control()).take(Self::MAX_USER_AGENT).collect()
        });
        Self { address, user_agent }
    }
}

/// A refresh, which the store decides in one atomic step.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The issuer of the tokens: the `iss` of the revocation if this refresh turns out to be reuse.
    pub issuer: Issuer,
    /// The subject of the presented token.
    pub subject: Subject,
    /// The session of the presented token.
    pub session: SessionId,
    /// The presented token.
    pub presented: Presented,
    /// The `jti` of the new refresh token.
    pub successor: TokenId,
    /// The time of the refresh.
    pub now: Timestamp,
    /// The start of the grace period: a refresh token whose successor has been used is accepted only if its own first
    /// use was not before this. `None` disables the grace period, also for a token whose successor has not been used.
    pub forgiven_since: Option<Timestamp>,
    /// The `exp` of the new access token; never later than the end of the session.
    pub access_expires_at: Timestamp,
    /// The `exp` of the new refresh token; never later than the end of the session.
    pub refresh_expires_at: Timestamp,
}

/// The token that is presented to obtain a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A refresh token with this `jti`.
    Refresh(TokenId),
    /// A valid access token. It is exchanged for another access token; the refresh token does not change.
    Access,
}

impl From<TokenId> for Presented {
    fn from(refresh_id: TokenId) -> Self {
        Self::Refresh(refresh_id)
    }
}

/// The result of a [`Rotation`].
#[derive(Debug, Clone)]
pub enum Rotated {
    /// The presented token was the current refresh token. Its successor is the current one now.
    Fresh(Session),
    /// The presented token is accepted within the grace period, or is an access token. The current refresh token does
    /// not change.
    WithinGrace(Session),
    /// The presented token was rotated before, so two parties have it. This revocation has ended the session.
    Reused(Box<Session>, Revocation),
    /// The session does not exist or has expired.
    Ended,
}

impl Rotation {
    /// Decides the rotation. Every store calls this function inside its atomic step, and writes the session of
    /// [`Rotated::Fresh`] or [`Rotated::WithinGrace`].
    ///
    /// Only the last two used tokens can be accepted again. The grace period is shorter than the lifetime of an access
    /// token, so a client that refreshes when its access token expires never presents an older one; a thief would (RFC
    /// 9700 §4.14.2).
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
            // By this clock: that of the node that rotated last may be ahead.
            session.used_refresh = before.map(|id| UsedRefresh { id, at: session.refreshed_at.min(self.now) });
            // Not before the tokens of a node whose clock is ahead: a cut-off of everything covers the sessions whose time it has reached.
            session.refreshed_at = self.now.max(session.refreshed_at);
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

/// The sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The session with this id, whatever its subject. A store may have to search for it.
    One(SessionId),
    /// The session with this id, if it belongs to this subject. A token contains both, so no store has to search.
    Owned(SessionId, Subject),
    /// All sessions of a subject.
    OfSubject(Subject),
    /// All sessions of a subject except this one.
    Others(Subject, SessionId),
    /// All sessions. Only sessions that were refreshed after `issued_until` get a revocation of their own; a cut-off in
    /// [`EndSessions::extra_revocations`] covers the others.
    All {
        /// The time of the cut-off.
        issued_until: Timestamp,
    },
    /// No session. Only [`EndSessions::extra_revocations`] are appended.
    Nothing,
}

/// A request to end sessions, in one step.
#[derive(Debug, Clone)]
pub struct EndSessions {
    /// The `iss` of the revocations.
    pub issuer: Issuer,
    /// The sessions to end.
    pub selection: Selection,
    /// If set, nothing is done unless this session of this subject exists.
    pub only_if: Option<(SessionId, Subject)>,
    /// Revocations to append in the same step. A cut-off among them is kept at least as long as the revocation of every
    /// session that is ended with it. The revocation of a session among them is for a session that does not exist: if
    /// the session is ended in this step, it gets a revocation of its own and the extra one is left out.
    pub extra_revocations: Vec<Revocation>,
}

/// The result of an [`EndSessions`].
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// The number of sessions that ended.
    pub sessions: usize,
    /// The revocations that were appended to the log.
    pub revocations: Vec<Revocation>,
}

impl EndSessions {
    /// Returns the revocations to append when these sessions are ended.
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

/// Stores sessions, together with the log of their revocations.
///
/// An implementation guarantees:
///
/// 1. **Atomic steps.** Each call is one atomic, durable step. Two calls about the same session are serialized across
///    all processes: the second sees the result of the first. So a refresh token is rotated once, and a call that ends
///    a session knows the last access token issued for it. Only [`Selection::All`] may take several steps, because
///    there may be millions of sessions: the cut-off is appended first, and a session ended later gets a revocation of
///    its own if the cut-off does not cover it.
/// 2. **One commit with the log.** Removing a session and appending its revocation to the log of the same store is one
///    commit. No reader and no crash can see one without the other.
/// 3. **No decisions of its own.** [`Rotation::decide`] decides rotations and [`EndSessions::revocations`] returns what
///    to append; both are called inside the step. The store reads no clock: times are passed in.
/// 4. **Values are preserved.** Every field is returned unchanged. Ids may contain any character, including NUL, and
///    are compared and ordered byte by byte, whatever the collation of a database.
///
/// After an error, or if the call is dropped, the step has happened completely or not at all. The suite in
/// `adieu-conformance` tests an engine for all of this.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Stores a new session. Its id is random and therefore new. Storing the same session again, as in a retry, has no
    /// effect.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn create(&self, session: Session) -> Result<(), Error>;

    /// Decides a rotation with [`Rotation::decide`] and writes the result. For reuse, the result is the end of the
    /// session and its revocation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error>;

    /// Removes sessions and appends their revocations, as returned by [`EndSessions::revocations`], in one step.
    /// Returns `None` if the session in [`EndSessions::only_if`] does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written. Nothing is guaranteed then, and the caller must not
    /// report that the session has ended.
    async fn end(&self, ending: EndSessions) -> Result<Option<Ended>, Error>;

    /// Carries out several [`SessionStore::end`] requests, in order and in one step. Each sees the results of those
    /// before it, and no reader sees only some of them. There may be thousands.
    ///
    /// # Errors
    /// As [`SessionStore::end`], for all requests: either all or none of them have been carried out.
    async fn end_all(&self, endings: Vec<EndSessions>) -> Result<Vec<Option<Ended>>, Error>;

    /// Returns the session with this id, whatever its subject. A store may have to search for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn session(&self, id: &SessionId) -> Result<Option<Session>, Error>;

    /// Returns at most `limit` sessions of a subject in the order of their ids, which with [`SessionId::random`] is
    /// oldest first. Starts after the id `after`, which need not exist any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn sessions_of(&self, of: &Subject, after: Option<&SessionId>, limit: usize) -> Result<Vec<Session>, Error>;

    /// Returns at most `limit` sessions of all subjects, starting after `after`, which need not exist any more. The
    /// sessions of a subject are adjacent and ordered as in [`SessionStore::sessions_of`]; the order of the subjects is
    /// up to the engine and never changes. A store reads no other sessions. A caller that continues each page where the
    /// last one ended sees every session that exists throughout exactly once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn sessions(&self, after: Option<&SessionKey>, limit: usize) -> Result<Vec<Session>, Error>;

    /// Returns the session with the lowest id, which with [`SessionId::random`] is the oldest. A store may have to
    /// search for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn oldest(&self) -> Result<Option<Session>, Error>;

    /// Returns when the last token of any session expires; zero if there is no session.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be read.
    async fn latest_expiry(&self) -> Result<Timestamp, Error>;

    /// Records when sessions were last used; an earlier time than the recorded one has no effect. Entries for sessions
    /// that do not exist, or belong to another subject, are ignored. There may be thousands.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn record_last_seen(&self, seen: Vec<(SessionId, Subject, Timestamp)>) -> Result<(), Error>;

    /// Deletes some of the sessions whose tokens have all expired at `now` ([`Session::last_expiry`] is earlier), in a
    /// small step. Nothing is appended: expired tokens need no revocation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store could not be written.
    async fn delete_expired(&self, now: Timestamp) -> Result<Pruned, Error>;
}
