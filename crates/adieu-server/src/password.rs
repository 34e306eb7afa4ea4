//! Passwords: stored as hashes that are slow to guess, and verified without starving other logins.
//!
//! 1. A new password is hashed with argon2id (19 MiB, 2 passes, 1 lane: the first choice of the OWASP cheat sheet).
//! 2. Hashes of other software are verified too, so that users can be imported: argon2 with other parameters, bcrypt, PBKDF2 and scrypt,
//!    in the forms that [`PasswordHash::parse`] lists. The verdict for such a user says that the password should be hashed again.
//!    What a hash may cost is limited when it is parsed, to 256 MiB and about two seconds of one core; a password that is not in NFC is
//!    compared twice.
//! 3. Hashing has its own threads, fewer than there are cores, each with memory that it reuses. The queue is bounded; when it is full,
//!    a further password gets [`HasherError::Busy`] at once.
//! 4. Errors, logs and `Debug` contain no secrets, and digests are compared in constant time.
//!
//! # Timing
//!
//! [`Hasher::verify_nobody`] does the same work for an unknown user as [`Hasher::verify`] does for a user whose password was hashed by
//! this server, so the two can't be distinguished. An imported user can be, until the first login: verifying takes as long as the other
//! software's hash does. Hiding that would make every login as slow as the slowest hash that was ever imported.

mod hash;
mod pool;

pub use hash::{HashError, PasswordHash};
pub use pool::{Hasher, HasherError, Verdict};
