//! The claims of a payload that is a plain dictionary with valid claims, as nearly all are.

use adieu::{MAX_ID_BYTES, time::Timestamp};
use pyo3::{
    Bound, PyAny, PyResult, Python, intern,
    types::{PyAnyMethods, PyDict, PyDictMethods, PyInt, PyString, PyStringMethods},
};

use crate::revocations::Facts;

/// The end of the year 9999. A later time is in milliseconds by mistake.
const LATEST: u64 = Timestamp::MAX.as_unix();

/// The claims, borrowed from the values of the payload.
pub(crate) struct Payload<'py> {
    issuer: Option<Bound<'py, PyString>>,
    token_id: Bound<'py, PyString>,
    session: Option<Bound<'py, PyString>>,
    subject: Option<Bound<'py, PyString>>,
    issued_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
}

/// A claim that Python has to judge.
pub(crate) struct Unusual;

impl<'py> Payload<'py> {
    /// Reads the claims of a payload. The caller keeps the payload unchanged meanwhile.
    pub(crate) fn read(
        py: Python<'py>,
        payload: &Bound<'py, PyAny>,
        subject_claim: &Bound<'py, PyString>,
    ) -> Result<Self, Unusual> {
        let payload = payload.cast_exact::<PyDict>().map_err(|_| Unusual)?;
        Ok(Self {
            issuer: text(payload, intern!(py, "iss"))?,
            token_id: text(payload, intern!(py, "jti"))?.ok_or(Unusual)?,
            session: text(payload, intern!(py, "sid"))?,
            subject: text(payload, subject_claim)?,
            issued_at: date(payload, intern!(py, "iat"))?,
            expires_at: date(payload, intern!(py, "exp"))?.ok_or(Unusual)?,
        })
    }

    pub(crate) fn facts(&self) -> PyResult<Facts<'_>> {
        Ok(Facts {
            issuer: self.issuer.as_ref().map(|text| text.to_str()).transpose()?,
            token_id: self.token_id.to_str()?,
            session: self.session.as_ref().map(|text| text.to_str()).transpose()?,
            subject: self.subject.as_ref().map(|text| text.to_str()).transpose()?,
            issued_at: self.issued_at,
            key_id: None,
            claims: None,
        })
    }
}

fn text<'py>(
    payload: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
) -> Result<Option<Bound<'py, PyString>>, Unusual> {
    let Some(value) = payload.get_item(name).map_err(|_| Unusual)? else { return Ok(None) };
    let value = value.cast_into_exact::<PyString>().map_err(|_| Unusual)?;
    let bytes = value.to_str().map_err(|_| Unusual)?.len();
    if bytes == 0 || bytes > MAX_ID_BYTES { Err(Unusual) } else { Ok(Some(value)) }
}

fn date<'py>(payload: &Bound<'py, PyDict>, name: &Bound<'py, PyString>) -> Result<Option<Timestamp>, Unusual> {
    let Some(value) = payload.get_item(name).map_err(|_| Unusual)? else { return Ok(None) };
    let seconds: u64 = value.cast_exact::<PyInt>().map_err(|_| Unusual)?.extract().map_err(|_| Unusual)?;
    if seconds > LATEST { Err(Unusual) } else { Ok(Some(Timestamp::from_unix(seconds))) }
}
