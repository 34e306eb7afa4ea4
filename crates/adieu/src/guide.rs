#![doc = include_str!("../docs/guide.md")]

#[cfg(doc)]
use crate::{
    Node, NodeBuilder,
    revocation::{Follower, Index, Revocation, RevocationLog},
    session::{SessionStore, Sessions},
    store::{Memory, Store},
    token::{Claims, KeyStore, StalePolicy, TokenError, Verifier},
};
