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
    AccessToken, AfterBody, AnyToken, Auth, Cookies, CourseAnswers, CurrentUser, FreshAccessToken, Guard, LoadUser,
    Location, Place, PresentedToken, Protect, REFUSAL_LOG_TARGET, RefreshToken, RefusalKind, RenewCookies,
    Rfc6750Answers, TokenCookie, TokenEnd, dangerous, only_in,
};
