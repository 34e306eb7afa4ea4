//! The claims of an application as a type of its own.

use adieu::token::Claims;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer},
};

use crate::RejectionReason;

/// Claims of the application that nobody has asked for as a type. They are in [`Claims::custom`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Untyped;

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        // Nothing is read: this is for [`read`], whose claims have been read already.
        Ok(Self)
    }
}

/// Reads them.
///
/// # Errors
/// [`RejectionReason::ClaimsRejected`] when they are not there, or not of that type.
pub(super) fn read<C: DeserializeOwned>(claims: &Claims) -> Result<C, RejectionReason> {
    C::deserialize((&claims.custom).into_deserializer())
        .map_err(|error| RejectionReason::ClaimsRejected(format!("they are not what the handler takes: {error}")))
}
