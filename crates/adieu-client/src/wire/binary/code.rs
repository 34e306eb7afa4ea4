//! The codes of the kinds of entries, which are the same in both versions.

use adieu::revocation::TargetKind;

pub(super) const TOKEN: u8 = 0;
pub(super) const TOKEN_OF_UNKNOWN_EXPIRY: u8 = 1;
pub(super) const SESSION: u8 = 2;
pub(super) const SUBJECT: u8 = 3;
pub(super) const EVERYTHING: u8 = 4;
pub(super) const KEY: u8 = 5;
pub(super) const CLAIM: u8 = 6;

/// Returns the code of an entry. A token of unknown expiry has a code of its own, so all others are one higher than those of the kinds.
pub(super) const fn code(kind: TargetKind, has_time: bool) -> u8 {
    match kind {
        TargetKind::Token if has_time => TOKEN,
        kind => kind.code() + TOKEN_OF_UNKNOWN_EXPIRY,
    }
}
