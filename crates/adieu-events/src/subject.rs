//! Subject identifiers (RFC 9493, and OpenID Shared Signals Framework 1.0 §3), and what they name in tokens.

use adieu::{SessionId, Subject, TokenId, time::Timestamp, token::TokenError};
use serde_json::{Map, Value};

use crate::{Alias, AliasKind, Sender, event::Unresolved, message::text};

/// What a subject identifier names, as far as tokens have it.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) tokens: Vec<TokenId>,
    /// What users are named by instead of a subject.
    pub(crate) aliases: Vec<Alias>,
    /// Whether the same id may be that of a session or of a subject.
    pub(crate) is_ambiguous: bool,
    /// Whether the format is not one of those that are defined.
    pub(crate) is_unknown_format: bool,
    /// Whether the identifier names something narrower that is not in tokens, such as a device.
    pub(crate) is_narrower: bool,
}

/// The member of a complex subject that an identifier is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Session,
    /// None: an opaque id may be that of a user or a session.
    Any,
}

/// Members of a complex subject that belong to the user and do not distinguish its sessions.
const OF_THE_USER: [&str; 4] = ["format", "tenant", "org_unit", "group"];

impl Named {
    /// Reads an identifier in any format. One that tokens of the sender do not have names nothing.
    ///
    /// # Errors
    /// [`TokenError::InvalidClaim`] if the identifier lacks a member that its format requires.
    pub(crate) fn read(identifier: &Value, sender: &Sender) -> Result<Self, TokenError> {
        let mut named = Self::default();
        let members = object(identifier)?;
        if is_complex_without_format(members) {
            named.add_complex(members, sender)?;
            return Ok(named);
        }
        match &*format(members)? {
            "complex" => named.add_complex(members, sender)?,
            "aliases" => named.add_aliases(members, sender, Role::Any)?,
            format => named.add(format, members, sender, Role::Any)?,
        }
        Ok(named)
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.sessions.is_empty() && self.subjects.is_empty() && self.tokens.is_empty()
    }

    /// Returns what becomes of the users that it names by aliases: their tokens end that were issued until `happened_at`.
    pub(crate) fn unresolved(&self, sender: &Sender, happened_at: Timestamp, now: Timestamp) -> Option<Unresolved> {
        (!self.aliases.is_empty()).then(|| Unresolved {
            aliases: self.aliases.clone(),
            issued_until: happened_at,
            lapses_at: sender.lapses_at(now),
            is_more: false,
            is_needed: self.subjects.is_empty(),
        })
    }

    /// All members together describe the subject: the session of that user on that device.
    fn add_complex(&mut self, members: &Map<String, Value>, sender: &Sender) -> Result<(), TokenError> {
        for (name, member) in members {
            let role = match name.as_str() {
                "user" => Role::User,
                "session" => Role::Session,
                name => {
                    self.is_narrower |= !OF_THE_USER.contains(&name);
                    continue;
                }
            };
            let member = object(member)?;
            let known = self.sessions.len();
            match &*format(member)? {
                "aliases" => self.add_aliases(member, sender, role)?,
                format => self.add(format, member, sender, role)?,
            }
            self.is_narrower |= role == Role::Session && self.sessions.len() == known;
        }
        Ok(())
    }

    /// All identifiers are of the same subject. Aliases in aliases are not allowed (RFC 9493 §3.2.8).
    fn add_aliases(&mut self, members: &Map<String, Value>, sender: &Sender, role: Role) -> Result<(), TokenError> {
        let Some(Value::Array(identifiers)) = members.get("identifiers") else { return Err(INVALID) };
        for identifier in identifiers {
            let identifier = object(identifier)?;
            match &*format(identifier)? {
                "aliases" | "complex" => return Err(INVALID),
                format => self.add(format, identifier, sender, role)?,
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        format: &str,
        members: &Map<String, Value>,
        sender: &Sender,
        role: Role,
    ) -> Result<(), TokenError> {
        let member = |name| text(members, name).map_err(|_| INVALID);
        let is_of_sender = || {
            let issuers = [sender.issuer(), sender.event_issuer()];
            member("iss").map(|issuer| issuers.into_iter().any(|known| known.as_str() == issuer))
        };
        match format {
            "iss_sub" => {
                let subject = Subject::new(member("sub")?).map_err(|_| INVALID)?;
                if is_of_sender()? && role != Role::Session {
                    self.subjects.push(subject);
                }
            }
            "opaque" => {
                let id = member("id")?;
                self.is_ambiguous |= role == Role::Any;
                if role != Role::User {
                    self.sessions.push(SessionId::new(id).map_err(|_| INVALID)?);
                }
                if role != Role::Session {
                    self.subjects.push(Subject::new(id).map_err(|_| INVALID)?);
                }
            }
            "jwt_id" => {
                let id = TokenId::new(member("jti")?).map_err(|_| INVALID)?;
                if is_of_sender()? {
                    self.tokens.push(id);
                }
            }
            format => match format.parse::<AliasKind>() {
                Ok(kind) => {
                    let value = member(kind.member())?;
                    if value.is_empty() {
                        return Err(INVALID);
                    }
                    // One that can't be kept is not known.
                    self.aliases.extend(Alias::new(kind, value).ok().filter(|_| role != Role::Session));
                }
                Err(_) => self.is_unknown_format = true,
            },
        }
        Ok(())
    }
}

const INVALID: TokenError = TokenError::InvalidClaim("sub_id");

fn object(value: &Value) -> Result<&Map<String, Value>, TokenError> {
    value.as_object().ok_or(INVALID)
}

/// Returns the format. In events from before RFC 9493 it is in `subject_type`, with hyphens.
fn format(members: &Map<String, Value>) -> Result<String, TokenError> {
    match (members.get("format"), members.get("subject_type")) {
        (Some(Value::String(format)), _) => Ok(format.clone()),
        (None, Some(Value::String(format))) => Ok(format.replace('-', "_")),
        _ => Err(INVALID),
    }
}

/// Returns whether this is a complex subject of a draft of SSF, which does not say so: it has an identifier in each member.
fn is_complex_without_format(members: &Map<String, Value>) -> bool {
    let has_format =
        |members: &Map<String, Value>| ["format", "subject_type"].iter().any(|name| members.contains_key(*name));
    !has_format(members) && members.values().filter_map(Value::as_object).any(has_format)
}
