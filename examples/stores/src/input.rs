//! Reads input of clients: ids in the path, and bodies in which every field is known and has the right type. All errors of a body are
//! reported at once, in marshmallow's wording.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request},
};
use serde_json::{Map, Value};

use crate::error::{Error, FieldErrors, Result};

/// The ids in the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Error))]
pub(crate) struct Path<T>(pub(crate) T);

/// The body of a request.
pub(crate) struct Body<T>(pub(crate) T);

/// A type that can be read from a body.
pub(crate) trait Schema: Sized {
    /// Reads all of its fields before it fails, so that all errors are found.
    fn load(fields: &mut Fields) -> Option<Self>;
}

/// The fields of a body that have not been read yet, and the errors of those that have.
pub(crate) struct Fields {
    given: Map<String, Value>,
    errors: FieldErrors,
}

impl Fields {
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.required(name, "Not a valid string.", |value| value.as_str().map(str::to_owned))
    }

    /// Reads a text of 1 to 80 characters.
    pub(crate) fn short_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if (1..=80).contains(&text.chars().count()) {
            Some(text)
        } else {
            self.wrong(name, "Length must be between 1 and 80.")
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        self.required(name, "Not a valid number.", |value| {
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
            number.is_finite().then_some(number)
        })
    }

    pub(crate) fn integer(&mut self, name: &str) -> Option<i64> {
        self.required(name, "Not a valid integer.", |value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// Reads a field that may be missing. The outer option is `None` if it is invalid, the inner one if it is missing.
    pub(crate) fn optional_integer(&mut self, name: &str) -> Option<Option<i64>> {
        if self.given.contains_key(name) { self.integer(name).map(Some) } else { Some(None) }
    }

    fn required<T>(
        &mut self,
        name: &str,
        otherwise: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        match self.given.remove(name) {
            None => self.wrong(name, "Missing data for required field."),
            Some(Value::Null) => self.wrong(name, "Field may not be null."),
            Some(value) => read(&value).or_else(|| self.wrong(name, otherwise)),
        }
    }

    fn wrong<T>(&mut self, name: &str, message: &'static str) -> Option<T> {
        self.errors.entry(name.to_owned()).or_default().push(message);
        None
    }
}

impl<S: Send + Sync, T: Schema> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Json(Value::Object(given)) = Json::from_request(request, state).await? else {
            return Err(Error::field("_schema", "Invalid input type."));
        };
        let mut fields = Fields { given, errors: FieldErrors::new() };
        let loaded = T::load(&mut fields);
        let Fields { given, mut errors } = fields;
        errors.extend(given.into_iter().map(|(name, _)| (name, vec!["Unknown field."])));
        match loaded {
            Some(loaded) if errors.is_empty() => Ok(Self(loaded)),
            _ => Err(Error::Invalid(errors)),
        }
    }
}
