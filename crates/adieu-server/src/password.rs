//! Passwords are kept as hashes that are slow to guess, and checked without letting logins starve anything else.
//!
//! 1. A new password is hashed with argon2id (19 MiB, 2 passes, 1 lane: the first choice of the OWASP cheat sheet).
//! 2. Hashes of other software are verified too, so that users can come along: argon2 with other parameters,
//!    passlib's `pbkdf2_sha256`, and bcrypt. Such a user's verdict says that the password should be hashed anew.
//! 3. Hashing has threads of its own, fewer than there are cores, each with memory that it keeps; only so many
//!    passwords wait, and a further one is told [`HasherError::Busy`] at once.
//! 4. Nothing secret is in an error, a log or a `Debug`, and digests are compared in constant time.
//!
//! # How much time tells
//!
//! [`Hasher::verify_nobody`] does the same work for a user that does not exist as [`Hasher::verify`] does for one
//! whose password is stored by us, so the two can't be told apart. An imported user can, until the first login:
//! verifying takes as long as the other software's hash takes. It would need every login to be as slow as the slowest
//! hash that was ever imported to hide that.

mod hash;
mod pool;

pub use hash::{HashError, PasswordHash};
pub use pool::{Hasher, HasherError, Verdict};
