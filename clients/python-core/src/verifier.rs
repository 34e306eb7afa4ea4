//! Verifies tokens: signature and claims, then revocation, then staleness.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adieu::{
    Chain, Error, Issuer,
    retry::Outage,
    time::{Clock, SystemClock},
    token::{Algorithm, Decoder, KeyId, KeySet, ParsedClaims, Rules, Scratch, TokenError, TokenType, VerifyingKey},
};
use adieu_client::{KeyFollower, KeySource, transport::Transport};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyString};

use crate::{
    border::guarded,
    feed::{Level, Shared},
    follower::Core,
    refused,
    revocations::Facts,
};

/// The keys of a decoder, which are followed until the verifier is closed or dropped.
pub(crate) struct Followed {
    decoder: Arc<Decoder>,
    source: KeySource,
    /// Whether the keys are those of the node.
    is_of_node: bool,
    keys: Mutex<Option<KeyFollower>>,
    outage: Outage,
    is_closed: AtomicBool,
}

impl Followed {
    fn new(decoder: Arc<Decoder>, source: KeySource, is_of_node: bool) -> Self {
        let (outage, is_closed) = (Outage::default(), AtomicBool::new(false));
        Self { decoder, source, is_of_node, keys: Mutex::new(None), outage, is_closed }
    }

    fn keys(&self) -> MutexGuard<'_, Option<KeyFollower>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_of_node(&self) -> bool {
        self.is_of_node
    }

    /// Follows in the runtime that was entered; after a fork, with what was known before.
    pub(crate) fn follow(&self, transport: Arc<dyn Transport>) -> Result<(), Error> {
        let mut keys = self.keys();
        if !self.is_closed() {
            let (decoder, source) = (Arc::clone(&self.decoder), self.source.clone().with_transport(transport));
            *keys = Some(match &*keys {
                None => KeyFollower::start(decoder, source)?,
                Some(before) => before.restart(decoder, source)?,
            });
        }
        Ok(())
    }

    /// Stops following. No token is accepted from now on, because nothing says when the issuer removes a key.
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        *self.keys() = None;
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn has_keys(&self) -> bool {
        self.keys().as_ref().is_some_and(KeyFollower::is_ready)
    }

    fn failure(&self) -> Option<String> {
        self.keys().as_ref()?.failure().map(|error| match error {
            Error::Unavailable(cause) => Chain(&*cause).to_string(),
            error => Chain(&error).to_string(),
        })
    }

    /// Tells Python once per outage that the keys cannot be read.
    pub(crate) fn tell_outages(&self, shared: &Shared) {
        match self.failure() {
            Some(why) if self.outage.begins() => {
                shared.tell(Level::Warning, format!("the issuer's keys can't be read: {why}; known keys stay valid"));
            }
            None if self.has_keys() && self.outage.ends() => {
                shared.tell(Level::Info, "the issuer's keys can be read again".to_owned());
            }
            _ => {}
        }
    }
}

/// What is left to decide about a token that is authentic, valid and not known to be revoked.
struct Judged {
    /// Whether the index is recent enough.
    is_recent: bool,
    token_type: TokenType,
    key_id: Option<String>,
}

/// The result of [`Verifier::verify`].
#[derive(IntoPyObject)]
enum Verdict {
    /// The id of the key that has verified the token, if it has one.
    Accepted(Option<String>),
    /// The code and the reason.
    Refused(&'static str, String),
}

/// Verifies the tokens of one issuer with the revocations of a [`Core`].
#[pyclass(frozen, module = "adieu_core")]
pub(crate) struct Verifier {
    core: Py<Core>,
    /// The method of the blocklist that waits for news if the index is stale. Returns whether to judge again; `False` is to accept.
    looks_again: Py<PyAny>,
    decoder: Arc<Decoder>,
    /// The keys; `None` if the key is fixed.
    followed: Option<Arc<Followed>>,
}

impl Verifier {
    fn judge(&self, token: &str) -> Result<Judged, TokenError> {
        if self.followed.as_ref().is_some_and(|followed| followed.is_closed()) {
            return Err(TokenError::Stale);
        }
        let core = self.core.get();
        let complete_at = core.complete_at();
        let mut scratch = Scratch::default();
        let claims = match self.decoder.decode_in(token, SystemClock.now(), &mut scratch) {
            // If the index is stale, the keys may be out of date as well.
            Err(TokenError::UnknownKey) if !core.is_recent(complete_at) => return Err(TokenError::Stale),
            decoded => decoded?,
        };
        if core.shared.revocations.matches(&facts(&claims)) {
            return Err(TokenError::Revoked(adieu::revocation::RevokedBy::Token));
        }
        if core.is_pruned(claims.expires_at()) {
            return Err(TokenError::Expired);
        }
        Ok(Judged {
            is_recent: core.is_recent(complete_at),
            token_type: claims.token_type(),
            key_id: claims.key_id().map(|id| id.as_str().to_owned()),
        })
    }
}

fn facts<'a>(claims: &'a ParsedClaims<'_>) -> Facts<'a> {
    Facts {
        issuer: Some(claims.issuer()),
        token_id: claims.token_id(),
        session: claims.session(),
        subject: Some(claims.subject()),
        issued_at: claims.issued_at(),
        key_id: claims.key_id().map(KeyId::as_str),
        claims: Some(claims),
    }
}

#[pymethods]
impl Verifier {
    /// Creates a verifier of the tokens of `issuer`, with a fixed key or with the keys at a URL, by default the node's.
    #[new]
    #[pyo3(signature = (core, issuer, *, looks_again, audience, leeway, max_lifetime, max_token_bytes, lenient, key, algorithm, keys_url, subject_claim))]
    #[expect(clippy::too_many_arguments, reason = "they have names, and one caller")]
    fn new(
        core: Py<Core>,
        issuer: &str,
        looks_again: Py<PyAny>,
        audience: Vec<String>,
        leeway: f64,
        max_lifetime: Option<f64>,
        max_token_bytes: usize,
        lenient: bool,
        key: Option<Vec<u8>>,
        algorithm: Option<&str>,
        keys_url: Option<&str>,
        subject_claim: &str,
    ) -> PyResult<Self> {
        let invalid = |error: String| PyValueError::new_err(format!("this setting must be another: {error}"));
        let issuer = Issuer::new(issuer).map_err(|error| invalid(format!("issuer: {error}")))?;
        let duration = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|error| invalid(format!("{name}: {error}")))
        };
        let mut rules = Rules::new(issuer)
            .with_leeway(duration("leeway", leeway)?)
            .map_err(|error| refused(&error))?
            .with_max_token_bytes(max_token_bytes);
        if let Some(max_lifetime) = max_lifetime {
            rules = rules.with_max_lifetime(duration("max_lifetime", max_lifetime)?);
        }
        for audience in audience {
            rules = rules.with_audience(audience);
        }
        if subject_claim != "sub" {
            rules = rules.with_subject_claim([subject_claim]);
        }
        if lenient {
            rules =
                rules.accept_missing_issuer().accept_missing_token_id().accept_missing_type().accept_integer_subject();
        }
        let algorithm: Option<Algorithm> =
            algorithm.map(str::parse).transpose().map_err(|error| invalid(format!("algorithm: {error}")))?;
        let Some(key) = key else {
            let url = keys_url.map_or_else(|| core.get().keys_url(), str::to_owned);
            let mut source = KeySource::new(&url).map_err(|error| refused(&error))?;
            if let Some(algorithm) = algorithm {
                source = source.with_rsa_algorithm(algorithm);
            }
            let decoder = Arc::new(Decoder::new(rules, KeySet::pending()));
            let followed = Arc::new(Followed::new(Arc::clone(&decoder), source, keys_url.is_none()));
            core.get().add_verifier(&followed)?;
            return Ok(Self { core, looks_again, decoder, followed: Some(followed) });
        };
        let algorithm = algorithm.ok_or_else(|| invalid("a key needs its algorithm".to_owned()))?;
        let key = if algorithm.is_symmetric() {
            VerifyingKey::from_secret(algorithm, &key)
        } else {
            let pem = std::str::from_utf8(&key).map_err(|error| invalid(format!("key: {error}")))?;
            VerifyingKey::from_pem(algorithm, pem)
        };
        let keys = key.and_then(|key| KeySet::new([key])).map_err(|error| refused(&error))?;
        Ok(Self { core, looks_again, decoder: Arc::new(Decoder::new(rules, keys)), followed: None })
    }

    /// Returns the id of the key of a token that is accepted, or `None` if the key has none; otherwise a tuple of the code and the
    /// reason. `kind` is `access`, `refresh`, or `None` for either. If the index is stale, the blocklist waits for news, accepts
    /// what is not known to be revoked, or raises.
    fn verify(&self, token: &Bound<'_, PyString>, kind: Option<&str>) -> PyResult<Verdict> {
        let expected = match kind {
            None => None,
            Some("access") => Some(TokenType::Access),
            Some("refresh") => Some(TokenType::Refresh),
            Some(_) => return Err(PyValueError::new_err("type must be \"access\", \"refresh\" or None")),
        };
        loop {
            // A text with a lone surrogate is no token.
            let text = || token.to_str().map_err(|_| TokenError::Malformed("it is not UTF-8"));
            let judged = guarded(|| Ok(text().and_then(|token| self.judge(token))))?;
            if judged.as_ref().is_ok_and(|judged| !judged.is_recent)
                && self.looks_again.call0(token.py())?.extract(token.py())?
            {
                continue;
            }
            let verdict = judged.and_then(|judged| match expected {
                Some(expected) if expected != judged.token_type => Err(TokenError::WrongTokenType { expected }),
                _ => Ok(judged.key_id),
            });
            return Ok(match verdict {
                Ok(key_id) => Verdict::Accepted(key_id),
                Err(refusal) => Verdict::Refused(refusal.code(), refusal.to_string()),
            });
        }
    }

    /// Whether the keys are known.
    #[getter]
    fn has_keys(&self) -> bool {
        self.followed.as_ref().is_none_or(|followed| followed.has_keys())
    }

    /// Why the keys could not be read; `None` if they were.
    #[getter]
    fn keys_failure(&self) -> Option<String> {
        self.followed.as_ref()?.failure()
    }

    /// Stops following the keys; a fixed key stays.
    fn close(&self) {
        if let Some(followed) = &self.followed {
            followed.close();
        }
    }
}
