//! The stored text and bytes: entries of the log, sessions, and the identity that cursors carry.

use adieu::{
    Error, Issuer, Subject,
    revocation::{LogId, Position, Revocation, TargetKind, TargetParts},
    session::Session,
    time::Timestamp,
};
use redis::Value;

use super::invalid;

/// The identity that cursors carry.
pub(super) fn lineage(log: &str, incarnation: &str) -> Result<LogId, Error> {
    LogId::new(&format!("{log}-{incarnation}")).map_err(invalid)
}

/// Returns the name of an entry in the stream. The start of the log has no entry: its name makes an empty range.
pub(super) fn entry_name(position: Position) -> String {
    format!("{}-0", position.get())
}

/// Encodes the kind, the time when it lapses, its own time or `-`, the length of the issuer in bytes, and after a
/// space the issuer and the id.
pub(super) fn revocation_to_text(revocation: &Revocation) -> String {
    let TargetParts { kind, id, time } = revocation.target.parts();
    let kind = kind.name();
    let moment = time.map_or_else(|| "-".to_owned(), |moment| moment.as_unix().to_string());
    let issuer = revocation.issuer.as_str();
    format!("{kind} {} {moment} {} {issuer}{id}", revocation.lapses_at.as_unix(), issuer.len())
}

/// Decodes an entry. A start decodes a million of these, and neighbours mostly have the same issuer: `previous` saves
/// parsing it again.
pub(super) fn revocation_from_text(text: &str, previous: &mut Option<Issuer>) -> Option<Revocation> {
    let mut parts = text.splitn(5, ' ');
    let kind = TargetKind::from_name(parts.next()?)?;
    let lapses_at = Timestamp::from_unix(parts.next()?.parse().ok()?);
    let time = match parts.next()? {
        "-" => None,
        seconds => Some(Timestamp::from_unix(seconds.parse().ok()?)),
    };
    let length = parts.next()?.parse().ok()?;
    let (issuer, id) = parts.next()?.split_at_checked(length)?;
    let issuer = match previous {
        Some(previous) if previous.as_str() == issuer => previous.clone(),
        _ => previous.insert(Issuer::new(issuer).ok()?).clone(),
    };
    let target = TargetParts { kind, id, time }.try_into().ok()?;
    Some(Revocation { issuer, target, lapses_at })
}

/// Decodes entries as `XRANGE` returns them: the name of each, and its one field and value.
pub(super) fn from_stream(entries: Value) -> Result<Vec<(Position, Revocation)>, Error> {
    let Value::Array(entries) = entries else { return Err(invalid("the log is not a stream")) };
    let mut issuer = None;
    entries.iter().map(|entry| from_entry(entry, &mut issuer).ok_or_else(|| invalid("an entry of the log"))).collect()
}

pub(super) fn from_entry(entry: &Value, issuer: &mut Option<Issuer>) -> Option<(Position, Revocation)> {
    let Value::Array(entry) = entry else { return None };
    let [Value::BulkString(name), Value::Array(fields)] = entry.as_slice() else { return None };
    let [_, Value::BulkString(fact)] = fields.as_slice() else { return None };
    let position = str::from_utf8(name).ok()?.strip_suffix("-0")?.parse().ok()?;
    Some((Position::new(position), revocation_from_text(str::from_utf8(fact).ok()?, issuer)?))
}

/// The prefix of a stored session, and of its id in the index of subjects.
pub(super) fn owner(subject: &Subject) -> Vec<u8> {
    format!("{}:{}", subject.as_str().len(), subject.as_str()).into_bytes()
}

/// Encodes a session: its owner, followed by the session as JSON.
pub(super) fn session_to_bytes(session: &Session) -> Result<Vec<u8>, Error> {
    let mut bytes = owner(&session.subject);
    serde_json::to_writer(&mut bytes, session).map_err(Error::unavailable)?;
    Ok(bytes)
}

pub(super) fn session_from_bytes(bytes: &[u8]) -> Result<Session, Error> {
    let kept = || {
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        let length: usize = str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
        bytes.get(colon.checked_add(1)?.checked_add(length)?..)
    };
    let json = kept().ok_or_else(|| invalid("a session"))?;
    serde_json::from_slice(json).map_err(|error| invalid(format_args!("a session ({error})")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use adieu::{
        SessionId, Subject, TokenId,
        revocation::{RevokedClaim, Target},
        token::KeyId,
    };

    use super::*;

    #[test]
    fn what_was_written_stays_readable() {
        let issuer = Issuer::new("https://adieu.test").unwrap();
        let time = Timestamp::from_unix;
        let cases = [
            (
                "token 12 11 18 https://adieu.testa b",
                Target::Token { id: TokenId::new("a b").unwrap(), expires_at: Some(time(11)) },
            ),
            ("token 12 - 18 https://adieu.testa", Target::Token { id: TokenId::new("a").unwrap(), expires_at: None }),
            ("session 12 - 18 https://adieu.test\0", Target::Session { id: SessionId::new("\0").unwrap() }),
            (
                "subject 12 0 18 https://adieu.testé",
                Target::Subject { id: Subject::new("é").unwrap(), issued_until: time(0) },
            ),
            ("everything 12 9 18 https://adieu.test", Target::Everything { issued_until: time(9) }),
            ("key 12 - 18 https://adieu.testkid-1", Target::Key { id: KeyId::new("kid-1").unwrap() }),
            (
                "claim 12 9 18 https://adieu.testtenant\u{1f}a b",
                Target::Claim { claim: RevokedClaim::new("tenant", "a b").unwrap(), issued_until: time(9) },
            ),
        ];
        for (text, target) in cases {
            let revocation = Revocation { issuer: issuer.clone(), target, lapses_at: time(12) };
            assert_eq!(revocation_to_text(&revocation), text);
            assert_eq!(revocation_from_text(text, &mut None), Some(revocation));
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in [
            "",
            "token",
            "token 12 - 18 https",
            "token 12 - 1 aé",
            "token 12 - 2 aé",
            "subject 12 - 1 ab",
            "x 1 1 1 ab",
        ] {
            assert_eq!(revocation_from_text(text, &mut None).is_some(), text == "token 12 - 1 aé", "{text}");
        }
    }
}
