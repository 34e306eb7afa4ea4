//! Verifies tokens: signature and claims, then revocation, then staleness.

use std::sync::{Arc, Mutex};

use adieu::{
    Issuer,
    time::{Clock, SystemClock},
    token::{Algorithm, Decoder, KeyId, KeySet, ParsedClaims, Rules, Scratch, TokenError, TokenType, VerifyingKey},
};
use adieu_client::{KeyFollower, KeySource};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyString};

use crate::{border::guarded, follower::Core, refused, revocations::Facts};

/// A decoder whose keys are followed.
pub(crate) struct Followed {
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) source: KeySource,
    pub(crate) keys: Arc<Mutex<Option<KeyFollower>>>,
}

/// Verifies the tokens of one issuer with the revocations of a [`Core`].
#[pyclass(frozen, module = "adieu_core")]
pub(crate) struct Verifier {
    core: Py<Core>,
    decoder: Arc<Decoder>,
    /// The follower of the keys; `None` if the key is fixed.
    keys: Option<Arc<Mutex<Option<KeyFollower>>>>,
}

impl Verifier {
    fn judge(&self, core: &Core, token: &str, expected: Option<TokenType>) -> Result<(), TokenError> {
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
        let accepts = core.shared.accepts_when_stale && complete_at.is_some();
        if !core.is_recent(complete_at) && !accepts {
            return Err(TokenError::Stale);
        }
        expected.map_or(Ok(()), |expected| claims.require_type(expected))
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
    #[pyo3(signature = (core, issuer, *, audience, leeway, lenient, key, algorithm, keys_url, subject_claim))]
    #[expect(clippy::too_many_arguments, reason = "they have names, and one caller")]
    fn new(
        core: Py<Core>,
        issuer: &str,
        audience: Vec<String>,
        leeway: f64,
        lenient: bool,
        key: Option<Vec<u8>>,
        algorithm: Option<&str>,
        keys_url: Option<&str>,
        subject_claim: &str,
    ) -> PyResult<Self> {
        let invalid = |error: String| PyValueError::new_err(format!("this setting must be another: {error}"));
        let issuer = Issuer::new(issuer).map_err(|error| invalid(format!("issuer: {error}")))?;
        let leeway =
            std::time::Duration::try_from_secs_f64(leeway).map_err(|error| invalid(format!("leeway: {error}")))?;
        let mut rules = Rules::new(issuer).with_leeway(leeway).map_err(|error| refused(&error))?;
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
            let keys = Arc::new(Mutex::new(None));
            core.get().add_verifier(Followed { decoder: Arc::clone(&decoder), source, keys: Arc::clone(&keys) })?;
            return Ok(Self { core, decoder, keys: Some(keys) });
        };
        let algorithm = algorithm.ok_or_else(|| invalid("a key needs its algorithm".to_owned()))?;
        let key = if algorithm.is_symmetric() {
            VerifyingKey::from_secret(algorithm, &key)
        } else {
            let pem = std::str::from_utf8(&key).map_err(|error| invalid(format!("key: {error}")))?;
            VerifyingKey::from_pem(algorithm, pem)
        };
        let keys = key.and_then(|key| KeySet::new([key])).map_err(|error| refused(&error))?;
        Ok(Self { core, decoder: Arc::new(Decoder::new(rules, keys)), keys: None })
    }

    /// Returns `None` for a token that is accepted, otherwise the code and the reason. `kind` is `access`, `refresh`, or
    /// `None` for either.
    fn verify(&self, token: &Bound<'_, PyString>, kind: Option<&str>) -> PyResult<Option<(&'static str, String)>> {
        let expected = match kind {
            None => None,
            Some("access") => Some(TokenType::Access),
            Some("refresh") => Some(TokenType::Refresh),
            Some(_) => return Err(PyValueError::new_err("type must be \"access\", \"refresh\" or None")),
        };
        guarded(|| {
            // A text with a lone surrogate is no token.
            let verdict = token
                .to_str()
                .map_err(|_| TokenError::Malformed("it is not UTF-8"))
                .and_then(|token| self.judge(self.core.get(), token, expected));
            Ok(verdict.err().map(|refusal| (refusal.code(), refusal.to_string())))
        })
    }

    /// Whether the keys are known.
    #[getter]
    fn has_keys(&self) -> bool {
        self.keys.as_ref().is_none_or(|keys| {
            let keys = keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            keys.as_ref().is_some_and(KeyFollower::is_ready)
        })
    }
}
