//! Reads request bodies: one JSON object in which every field is known and has the right type. Queries are read in the same way.
//!
//! 1. A body that is not JSON gets 400. So does one with a duplicate field, because two parsers could choose different values.
//! 2. Missing, unknown and invalid fields get 422, all in one response, in the wording of marshmallow, which clients of a Flask API
//!    know.
//! 3. A body over the size limit gets 413. A body without a JSON content type gets 415; so does one with two content types, which two
//!    parsers could read differently, and one in a character set other than UTF-8. (webargs would read a body without a content type
//!    as an empty object and report every field as missing, which is misleading.)
//!
//! ```
//! use adieu_server::{input::Fields, text::Username};
//!
//! let mut fields = Fields::parse(br#"{"username":"jose","password":"1234"}"#)?;
//! let username = fields.required("username", |text| Username::new(&text));
//! let nickname = fields.optional("nickname", |text| Username::new(&text));
//! let password = fields.required("password", |text| Ok(text));
//! let (username, nickname, password) = fields.finish((username, nickname, password))?;
//! assert_eq!((username.as_str(), nickname, password.as_str()), ("jose", None, "1234"));
//! # Ok::<(), adieu_server::error::ApiError>(())
//! ```

use std::collections::{BTreeMap, btree_map::Entry};

use adieu::token::unambiguous_json;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde_json::Value;

use crate::{
    error::{ApiError, FieldErrors},
    text::TextError,
};

/// The fields of a body that have not been read yet, and the errors of those that have.
///
/// As an axum extractor, it reads the request body up to the limit of the router
/// ([`DefaultBodyLimit`](axum::extract::DefaultBodyLimit)).
pub struct Fields {
    rest: BTreeMap<String, Value>,
    errors: FieldErrors,
    place: Place,
}

/// The part of the request that holds the fields.
#[derive(Clone, Copy)]
enum Place {
    Body,
    Query,
}

/// An axum extractor for the fields of the query.
pub struct Query(pub Fields);

/// An axum extractor for the fields of a form; it reads the body up to the limit of the router.
pub struct Form(pub FormFields);

/// The name-value pairs of a form, in their order.
pub struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// Removes and returns the value of a parameter, if present. Unknown parameters are ignored.
    ///
    /// # Errors
    /// [`ApiError::RepeatedParameter`] if the parameter occurs twice.
    pub fn take(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut values = self.0.extract_if(.., |(other, _)| other == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(ApiError::RepeatedParameter(name)),
        }
    }
}

/// A field that was read; [`Fields::finish`] returns its value.
pub struct Field<T>(Option<T>);

/// Returns a number that has no fraction, up to 2^53: a larger one may have been another one in the text.
fn whole(number: f64) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    ((0.0..=LARGEST).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

impl Fields {
    /// Parses a body. An empty body is an object without fields.
    ///
    /// # Errors
    /// [`ApiError::InvalidJson`] if the body is not JSON or has a duplicate field; [`ApiError::Invalid`] if it is not an object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let errors = FieldErrors::default();
        if body.is_empty() {
            return Ok(Self { rest: BTreeMap::new(), errors, place: Place::Body });
        }
        match unambiguous_json(body) {
            Ok(Value::Object(rest)) => Ok(Self { rest: rest.into_iter().collect(), errors, place: Place::Body }),
            Ok(_) => Err(FieldErrors::one("_schema", "Invalid input type.").into()),
            Err(error) => Err(ApiError::InvalidJson(error.to_string())),
        }
    }

    /// Parses the fields of a query.
    ///
    /// # Errors
    /// [`ApiError::InvalidQuery`] if a field occurs twice.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let (mut rest, mut errors) = (BTreeMap::new(), FieldErrors::default());
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            match rest.entry(name) {
                Entry::Vacant(place) => _ = place.insert(Value::String(value)),
                Entry::Occupied(first) => errors.add(first.key().clone(), "Duplicate field."),
            }
        }
        if errors.is_empty() {
            Ok(Self { rest, errors, place: Place::Query })
        } else {
            Err(ApiError::InvalidQuery(errors))
        }
    }

    /// Reads a required text with `read`.
    pub fn required<T>(&mut self, name: &'static str, read: impl FnOnce(String) -> Result<T, TextError>) -> Field<T> {
        match self.rest.remove(name) {
            Some(value) => self.read(name, value, read),
            None => {
                self.errors.add(name, "Missing data for required field.");
                Field(None)
            }
        }
    }

    /// Reads an optional text with `read`, if present.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(String) -> Result<T, TextError>,
    ) -> Field<Option<T>> {
        match self.rest.remove(name) {
            Some(value) => Field(self.read(name, value, read).0.map(Some)),
            None => Field(Some(None)),
        }
    }

    /// Reads an optional whole number, which may be written as 1.0 (JSON Schema Validation §6.1.1).
    pub fn optional_number(&mut self, name: &'static str) -> Field<Option<u64>> {
        self.optional_value(name, "Not a valid integer.", |value| value.as_u64().or_else(|| whole(value.as_f64()?)))
    }

    /// Reads an optional boolean.
    pub fn optional_flag(&mut self, name: &'static str) -> Field<Option<bool>> {
        self.optional_value(name, "Not a valid boolean.", Value::as_bool)
    }

    /// Removes and returns an optional list of 1 to `most` objects, each with its own fields. The list is read at once, because it
    /// determines which other fields are allowed.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if the value is not a list, or is too short or too long.
    pub fn take_list(
        &mut self,
        name: &'static str,
        most: usize,
    ) -> Result<Option<Vec<Result<Self, ApiError>>>, ApiError> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        let Value::Array(values) = value else { return Err(FieldErrors::one(name, "Not a valid list.").into()) };
        if values.is_empty() || values.len() > most {
            return Err(FieldErrors::one(name, format!("Length must be between 1 and {most}.")).into());
        }
        let fields = |value| match value {
            Value::Object(fields) => {
                Ok(Self { rest: fields.into_iter().collect(), errors: FieldErrors::default(), place: Place::Body })
            }
            _ => Err(FieldErrors::one("_schema", "Invalid input type.").into()),
        };
        Ok(Some(values.into_iter().map(fields).collect()))
    }

    /// Removes and returns an optional object with fields of its own, which is read at once.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if the value is not an object.
    pub fn take_object(&mut self, name: &'static str) -> Result<Option<Self>, ApiError> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let rest = fields.into_iter().collect();
                Ok(Some(Self { rest, errors: FieldErrors::default(), place: Place::Body }))
            }
            Some(_) => Err(FieldErrors::one(name, "Not a valid object.").into()),
        }
    }

    fn optional_value<T>(
        &mut self,
        name: &'static str,
        otherwise: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Field<Option<T>> {
        let Some(value) = self.rest.remove(name) else { return Field(Some(None)) };
        let read = read(&value);
        if read.is_none() {
            self.errors.add(name, if value.is_null() { "Field may not be null." } else { otherwise });
        }
        Field(read.map(Some))
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        value: Value,
        read: impl FnOnce(String) -> Result<T, TextError>,
    ) -> Field<T> {
        let outcome = match value {
            Value::String(text) => read(text).map_err(|error| error.to_string()),
            Value::Null => Err("Field may not be null.".to_owned()),
            _ => Err("Not a valid string.".to_owned()),
        };
        Field(outcome.map_err(|message| self.errors.add(name, message)).ok())
    }

    /// Returns the values of the fields that were read.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] or [`ApiError::InvalidQuery`] with every error, including fields that were not read.
    pub fn finish<F: Finish>(mut self, fields: F) -> Result<F::Values, ApiError> {
        for name in self.rest.into_keys() {
            self.errors.add(name, "Unknown field.");
        }
        match fields.values() {
            Some(values) if self.errors.is_empty() => Ok(values),
            _ => Err(match self.place {
                Place::Body => ApiError::Invalid(self.errors),
                Place::Query => ApiError::InvalidQuery(self.errors),
            }),
        }
    }
}

/// Several [`Field`]s, finished together.
pub trait Finish {
    /// The values of the fields.
    type Values;

    /// Returns all values, if every field has one.
    fn values(self) -> Option<Self::Values>;
}

macro_rules! finish {
    ($($value:ident)+) => {
        impl<$($value),+> Finish for ($(Field<$value>,)+) {
            type Values = ($($value,)+);

            #[allow(non_snake_case)]
            fn values(self) -> Option<Self::Values> {
                let ($($value,)+) = self;
                Some(($($value.0?,)+))
            }
        }
    };
}

impl Finish for () {
    type Values = ();

    fn values(self) -> Option<()> {
        Some(())
    }
}

/// Two groups of [`Field`]s, finished together.
pub struct Both<A, B>(pub A, pub B);

impl<A: Finish, B: Finish> Finish for Both<A, B> {
    type Values = (A::Values, B::Values);

    fn values(self) -> Option<Self::Values> {
        Some((self.0.values()?, self.1.values()?))
    }
}

finish!(A);
finish!(A B);
finish!(A B C);
finish!(A B C D);
finish!(A B C D E);
finish!(A B C D E F);
finish!(A B C D E F G H I);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::parse(&MediaType::Json.read(request, state).await?)
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = MediaType::Form.read(request, state).await?;
        Ok(Self(FormFields(form_urlencoded::parse(&body).into_owned().collect())))
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Fields::from_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// The media type of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MediaType {
    /// `application/json` or `application/…+json` (RFC 6839 §3.1).
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/secevent+jwt` (RFC 8935 §2.1).
    SecurityEvent,
}

impl MediaType {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::SecurityEvent => "application/secevent+jwt",
        }
    }

    /// Reads the request body, up to the limit of the router.
    pub(crate) async fn read<S: Send + Sync>(self, request: Request, state: &S) -> Result<Bytes, ApiError> {
        let labelled = self.check(request.headers());
        let is_unlabelled = !request.headers().contains_key(header::CONTENT_TYPE);
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge,
            _ => ApiError::BadRequest("The body could not be read.".into()),
        })?;
        // A request without a body needs no content type.
        if is_unlabelled && body.is_empty() { Ok(body) } else { labelled.map(|()| body) }
    }

    /// Checks that the content type is this media type, and that there is only one.
    ///
    /// # Errors
    /// [`ApiError::UnsupportedMediaType`] otherwise.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut labels = headers.get_all(header::CONTENT_TYPE).iter();
        match (labels.next().and_then(|label| label.to_str().ok()), labels.next()) {
            (Some(label), None) if self.is(label) => Ok(()),
            _ => Err(ApiError::UnsupportedMediaType(self.name())),
        }
    }

    fn is(self, label: &str) -> bool {
        let mut parts = label.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_utf_8 = |charset: &str| ["utf-8", "utf8"].iter().any(|name| charset.eq_ignore_ascii_case(name));
        let is_readable = |parameter: &str| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => is_utf_8(value.trim_matches('"')),
            _ => true,
        };
        let is_named = essence == self.name() || (matches!(self, Self::Json) && is_json_of_a_kind(&essence));
        is_named && parts.all(is_readable)
    }
}

/// Checks for the suffix of RFC 6839 §3.1, with only the characters of RFC 6838 §4.2.
fn is_json_of_a_kind(essence: &str) -> bool {
    let kind = essence.strip_prefix("application/").and_then(|subtype| subtype.strip_suffix("+json"));
    kind.is_some_and(|kind| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte)))
}
