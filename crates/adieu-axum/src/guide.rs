#![doc = include_str!("../docs/coming-from-flask-jwt-extended.md")]

#[cfg(doc)]
use adieu::{
    NodeBuilder,
    session::{Scope, SessionSettings, Sessions, TokenOptions},
    token::{
        Claims, Decoder, Fresh, KeySet, Rules, SigningKey, Verifier, VerifyingKey, dangerous::unverified_header, encode,
    },
};

#[cfg(doc)]
use crate::{
    AccessToken, AfterBody, AnyToken, Auth, Cookies, CurrentUser, FlaskJwtExtendedResponses, FreshAccessToken, Guard,
    LoadUser, Location, Place, PresentedToken, Protect, REJECTION_LOG_TARGET, RefreshToken, RejectionKind,
    RenewCookies, Rfc6750Responses, TokenCookie, TokenEnd, dangerous, only_in,
};
