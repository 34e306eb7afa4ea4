//! The claims of a payload that is a plain dictionary with valid claims, as nearly all are.

use adieu::{MAX_ID_BYTES, revocation::TokenClaims, time::Timestamp};
use pyo3::{
    Bound, Py, PyAny, Python, intern,
    types::{
        PyAnyMethods, PyBool, PyBoolMethods, PyDict, PyDictMethods, PyFloat, PyFloatMethods, PyInt, PyList,
        PyListMethods, PyString, PyStringMethods, PyTuple, PyTupleMethods,
    },
};

use crate::revocations::Facts;

/// The end of the year 9999. A later time is in milliseconds by mistake.
const LATEST: u64 = Timestamp::MAX.as_unix();

/// The largest integer that every JSON parser reads exactly (RFC 8259 §6).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The claims, borrowed from the values of the payload.
pub(crate) struct Payload<'a, 'py> {
    issuer: Option<Bound<'py, PyString>>,
    token_id: Bound<'py, PyString>,
    session: Option<Bound<'py, PyString>>,
    subject: Option<Bound<'py, PyString>>,
    issued_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
    claims: AllClaims<'a>,
}

/// All claims of a payload, which are looked at only by the names that a revocation has.
#[derive(Debug)]
pub(crate) struct AllClaims<'a>(&'a Py<PyDict>);

impl<'a> AllClaims<'a> {
    pub(crate) fn new(payload: &'a Bound<'_, PyDict>) -> Self {
        Self(payload.as_unbound())
    }
}

impl TokenClaims for AllClaims<'_> {
    fn has(&self, name: &str, test: &mut dyn FnMut(&str) -> bool) -> bool {
        Python::attach(|py| {
            let Ok(Some(value)) = self.0.bind(py).get_item(name) else { return false };
            if let Ok(list) = value.cast::<PyList>() {
                list.iter().any(|element| has_text(&element, test))
            } else if let Ok(tuple) = value.cast::<PyTuple>() {
                tuple.iter().any(|element| has_text(&element, test))
            } else {
                has_text(&value, test)
            }
        })
    }
}

/// Returns whether `test` accepts the text of a value, if it has one.
fn has_text(value: &Bound<'_, PyAny>, test: &mut dyn FnMut(&str) -> bool) -> bool {
    if let Ok(text) = value.cast::<PyString>() {
        // A text with a lone surrogate is in no revocation.
        return text.to_str().is_ok_and(test);
    }
    // Before the integers: it is one of them in Python.
    if let Ok(boolean) = value.cast::<PyBool>() {
        return test(if boolean.is_true() { "true" } else { "false" });
    }
    let integer = if let Ok(float) = value.cast::<PyFloat>() {
        Some(float.value()).filter(|float| float.fract() == 0.0).map(|float| float as i64)
    } else {
        value.cast::<PyInt>().ok().and_then(|integer| integer.extract::<i64>().ok())
    };
    integer.is_some_and(|integer| integer.unsigned_abs() <= MAX_SAFE_INTEGER && test(&integer.to_string()))
}

/// A claim that Python has to judge.
pub(crate) struct Unusual;

impl<'a, 'py> Payload<'a, 'py> {
    /// Reads the claims of a payload. The caller keeps the payload unchanged meanwhile.
    pub(crate) fn read(payload: &'a Bound<'py, PyAny>, subject_claim: &Bound<'py, PyString>) -> Result<Self, Unusual> {
        let py = payload.py();
        let payload = payload.cast_exact::<PyDict>().map_err(|_| Unusual)?;
        Ok(Self {
            issuer: text(payload, intern!(py, "iss"))?,
            token_id: text(payload, intern!(py, "jti"))?.ok_or(Unusual)?,
            session: text(payload, intern!(py, "sid"))?,
            subject: text(payload, subject_claim)?,
            issued_at: date(payload, intern!(py, "iat"))?,
            expires_at: date(payload, intern!(py, "exp"))?.ok_or(Unusual)?,
            claims: AllClaims::new(payload),
        })
    }

    /// Returns the facts of the token, whose header has this `kid`.
    pub(crate) fn facts<'b>(&'b self, kid: Option<&'b Bound<'py, PyAny>>) -> Result<Facts<'b>, Unusual> {
        let kid = kid.map(|kid| kid.cast_exact::<PyString>()).transpose().map_err(|_| Unusual)?;
        Ok(Facts {
            issuer: self.issuer.as_ref().map(id).transpose()?,
            token_id: id(&self.token_id)?,
            session: self.session.as_ref().map(id).transpose()?,
            subject: self.subject.as_ref().map(id).transpose()?,
            issued_at: self.issued_at,
            key_id: kid.map(|kid| kid.to_str()).transpose().map_err(|_| Unusual)?,
            claims: Some(&self.claims),
        })
    }
}

fn text<'py>(
    payload: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
) -> Result<Option<Bound<'py, PyString>>, Unusual> {
    let value = payload.get_item(name).map_err(|_| Unusual)?;
    value.map(|value| value.cast_into_exact().map_err(|_| Unusual)).transpose()
}

fn id<'a>(text: &'a Bound<'_, PyString>) -> Result<&'a str, Unusual> {
    text.to_str().ok().filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES).ok_or(Unusual)
}

fn date(payload: &Bound<'_, PyDict>, name: &Bound<'_, PyString>) -> Result<Option<Timestamp>, Unusual> {
    let Some(value) = payload.get_item(name).map_err(|_| Unusual)? else { return Ok(None) };
    // Read as a signed integer, which Python converts faster.
    let seconds: i64 = value.cast_exact::<PyInt>().map_err(|_| Unusual)?.extract().map_err(|_| Unusual)?;
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds <= LATEST).ok_or(Unusual)?;
    Ok(Some(Timestamp::from_unix(seconds)))
}
