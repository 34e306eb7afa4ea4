//! The index, looked up by the ids of a token alone.

use std::sync::Arc;

use adieu::{
    Issuer, SessionId, TokenId,
    revocation::{Index, Revocation, RevokedBy, Target, TokenClaims, TokenFacts},
    time::{Clock, SystemClock, Timestamp},
};
use arc_swap::{ArcSwap, ArcSwapOption};

/// The name under which revocations are kept that were added before the node has named its issuer.
const NOT_NAMED: &str = "\0";

/// The claims of a token that a look-up uses.
pub(crate) struct Facts<'a> {
    pub(crate) issuer: Option<&'a str>,
    pub(crate) token_id: &'a str,
    pub(crate) session: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) issued_at: Option<Timestamp>,
    /// The `kid` of the key, if it is known.
    pub(crate) key_id: Option<&'a str>,
    /// All other claims, if they are known.
    pub(crate) claims: Option<&'a dyn TokenClaims>,
}

/// All known revocations. Tokens are found by their id alone, whatever their `exp`: a caller of the Python package may not
/// know it, or know another one than the caller that revoked the token.
pub(crate) struct Revocations {
    pub(crate) index: Arc<Index>,
    /// The issuer of tokens without `iss`; `None` for the node.
    issuer: Option<Issuer>,
    /// All names that the node had. They are one issuer: renaming a node must not revive what was revoked before.
    names: ArcSwap<Vec<Issuer>>,
    node: ArcSwapOption<Issuer>,
}

impl Revocations {
    pub(crate) fn new(issuer: Option<Issuer>) -> Self {
        Self {
            index: Arc::new(Index::new(SystemClock.now())),
            issuer,
            names: ArcSwap::from_pointee(Vec::new()),
            node: ArcSwapOption::empty(),
        }
    }

    /// Returns whether a revocation matches the token.
    pub(crate) fn matches(&self, facts: &Facts<'_>) -> bool {
        let under = |issuer: &str| {
            let token = TokenFacts {
                issuer,
                token_id: facts.token_id,
                session: facts.session,
                // No revocation names the empty text.
                subject: facts.subject.unwrap_or_default(),
                issued_at: facts.issued_at,
                expires_at: Timestamp::ZERO,
                key_id: facts.key_id,
                claims: facts.claims,
            };
            self.index.check(&token).is_some()
        };
        let is_own = |issuer: &str| self.has_name(None, |name| name == issuer);
        // An id that was added without its issuer is found too, so that this agrees with `contains`.
        self.has_name(facts.issuer, under)
            || (facts.issuer.is_some_and(|issuer| !is_own(issuer)) && self.contains(facts.token_id))
    }

    /// Returns whether the token with this id, of the issuer of tokens without `iss`, was revoked by its id.
    pub(crate) fn contains(&self, token_id: &str) -> bool {
        let by_id = |issuer: &str| {
            let token = TokenFacts {
                issuer,
                token_id,
                session: None,
                subject: "",
                issued_at: Some(Timestamp::MAX),
                expires_at: Timestamp::ZERO,
                key_id: None,
                claims: None,
            };
            self.index.check(&token) == Some(RevokedBy::Token)
        };
        self.has_name(None, by_id)
    }

    /// Returns whether an issuer has a name for which this is true; if it is `None`, the issuer of tokens without `iss`.
    fn has_name(&self, issuer: Option<&str>, mut is_true: impl FnMut(&str) -> bool) -> bool {
        let names = self.names.load();
        match issuer.or(self.issuer.as_ref().map(Issuer::as_str)) {
            Some(issuer) if names.iter().all(|name| name.as_str() != issuer) => is_true(issuer),
            _ => names.iter().any(|name| is_true(name.as_str())),
        }
    }

    /// Keeps the revocation of a token until a time. An id that no token can have is ignored.
    pub(crate) fn add_token(&self, issuer: Option<&str>, id: &str, lapses_at: Timestamp) {
        if let Ok(id) = TokenId::new(id) {
            self.add(issuer, Target::Token { id, expires_at: None }, lapses_at);
        }
    }

    /// Keeps the revocation of a session until a time.
    pub(crate) fn add_session(&self, issuer: Option<&str>, id: &str, lapses_at: Timestamp) {
        if let Ok(id) = SessionId::new(id) {
            self.add(issuer, Target::Session { id }, lapses_at);
        }
    }

    fn add(&self, issuer: Option<&str>, target: Target, lapses_at: Timestamp) {
        let issuer = match issuer {
            Some(issuer) => Issuer::new(issuer).ok(),
            None => self.issuer.clone().or_else(|| self.names.load().first().cloned()).or_else(|| {
                let issuer = Issuer::new(NOT_NAMED).ok()?;
                self.add_name(&issuer);
                Some(issuer)
            }),
        };
        if let Some(issuer) = issuer {
            self.index.insert(&Revocation { issuer, target, lapses_at });
        }
    }

    /// Sets the node's own issuer, and returns the one before if it was another. Both are one issuer from then on.
    pub(crate) fn name_node(&self, issuer: &Issuer) -> Option<Issuer> {
        if self.node.load().as_deref() == Some(issuer) {
            return None;
        }
        self.add_name(issuer);
        self.node.swap(Some(Arc::new(issuer.clone()))).map(|before| (*before).clone())
    }

    /// Returns the node's own issuer, once it is known.
    pub(crate) fn node_issuer(&self) -> Option<Arc<Issuer>> {
        self.node.load_full()
    }

    fn add_name(&self, issuer: &Issuer) {
        self.names.rcu(|names| {
            let mut names = names.to_vec();
            if !names.contains(issuer) {
                names.push(issuer.clone());
            }
            names
        });
    }
}
