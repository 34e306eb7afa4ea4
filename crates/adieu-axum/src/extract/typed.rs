//! The application's claims as a type of its own.

use adieu::token::Claims;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer},
};

use crate::RejectionReason;

/// The default type parameter, for claims that are not deserialized. They are in [`Claims::custom`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Untyped;

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        // Reads nothing: [`read`] has already read the claims.
        Ok(Self)
    }
}

/// Deserializes the application's claims.
///
/// # Errors
/// [`RejectionReason::ClaimsRejected`] if they are missing or not of that type.
pub(super) fn read<C: DeserializeOwned>(claims: &Claims) -> Result<C, RejectionReason> {
    C::deserialize((&claims.custom).into_deserializer())
        .map_err(|error| RejectionReason::ClaimsRejected(format!("they are not what the handler takes: {error}")))
}
