//! The look-ups of a blocklist, which enter this crate without a function of Python in between.

use std::sync::OnceLock;

use pyo3::{
    intern,
    prelude::*,
    types::{IntoPyDict, PyDict, PyString, PyTuple},
};

use crate::{border::guarded, follower::Core, payload::Payload};

/// The base class of `adieu.Blocklist`, which answers what most requests ask. It leaves everything else to the methods
/// `_contains` and `_is_revoked` of the class in Python: unusual claims, a stale index, and every question without a core.
#[pyclass(frozen, subclass, module = "adieu_core")]
pub(crate) struct Lookups {
    source: OnceLock<Source>,
}

/// Where to look up, and the claim that names the user.
struct Source {
    core: Py<Core>,
    subject_claim: Py<PyString>,
}

impl Lookups {
    fn contains(&self, jti: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        guarded(|| {
            let Some(source) = self.source.get() else { return Ok(None) };
            let Ok(jti) = jti.cast_exact::<PyString>() else { return Ok(None) };
            let Ok(jti) = jti.to_str() else { return Ok(None) };
            Ok(source.core.get().look_up(|core| core.shared.revocations.contains(jti)))
        })
    }

    fn matches(&self, payload: &Bound<'_, PyAny>, kid: Option<&Bound<'_, PyAny>>) -> PyResult<Option<bool>> {
        guarded(|| {
            let Some(source) = self.source.get() else { return Ok(None) };
            let Ok(payload) = Payload::read(payload, source.subject_claim.bind(payload.py())) else { return Ok(None) };
            let Ok(facts) = payload.facts(kid) else { return Ok(None) };
            Ok(source
                .core
                .get()
                .look_up(|core| core.shared.revocations.matches(&facts) || core.is_pruned(payload.expires_at)))
        })
    }
}

#[pymethods]
impl Lookups {
    /// Creates an object without a core, whatever the arguments are: they are for the class in Python.
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(_arguments: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self { source: OnceLock::new() }
    }

    /// Looks up in this core from now on. A later call changes nothing.
    fn _look_up_in(&self, core: Py<Core>, subject_claim: Py<PyString>) {
        let _ = self.source.set(Source { core, subject_claim });
    }

    /// Returns whether the token with this id was revoked by its id alone.
    fn __contains__(slf: &Bound<'_, Self>, jti: &Bound<'_, PyAny>) -> PyResult<bool> {
        match slf.get().contains(jti)? {
            Some(found) => Ok(found),
            None => slf.call_method1(intern!(slf.py(), "_contains"), (jti,))?.extract(),
        }
    }

    /// Returns whether the token with this decoded payload has been revoked.
    ///
    /// Checks its id, its session, the cut-offs of its user, of its other claims and of its issuer, and its key. A
    /// token without ``iss`` counts as one of `issuer`. A token without ``jti`` is identified by its signing input:
    /// pass the encoded `token` as well. `kid` is the one in the header of the token: without it, the revocation of a
    /// key is not noticed.
    ///
    /// Raises `StaleError` when the memory is stale, `InvalidClaimsError` for a payload that the node would reject, and
    /// `TypeError` if both ``jti`` and `token` are missing.
    #[pyo3(signature = (payload, token=None, *, kid=None))]
    fn is_revoked(
        slf: &Bound<'_, Self>,
        payload: &Bound<'_, PyAny>,
        token: Option<&Bound<'_, PyAny>>,
        kid: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        match slf.get().matches(payload, kid)? {
            Some(found) => Ok(found),
            None => {
                let kid = [("kid", kid)].into_py_dict(slf.py())?;
                slf.call_method(intern!(slf.py(), "_is_revoked"), (payload, token), Some(&kid))?.extract()
            }
        }
    }
}
