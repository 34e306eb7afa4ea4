//! Paths to claims, as the settings and the query of `/verify` write them.

use std::mem::take;

/// The name of a claim, and those of the members inside it; without any, the usual claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// Parses `name`, or `name.member` for a member of an object, up to an end or a colon. In a name, `\.`, `\:` and `\\` stand for the
    /// character after the backslash. Returns the path, and the text after the colon, if there is one; `None` if a name is empty.
    pub(crate) fn parse(text: &str) -> Option<(Self, Option<&str>)> {
        let (mut path, mut name, mut rest) = (Vec::new(), String::new(), text.chars());
        loop {
            let end = match rest.next() {
                Some('\\') => {
                    name.push(rest.next().filter(|escaped| ['.', ':', '\\'].contains(escaped))?);
                    continue;
                }
                Some(character) if character != '.' && character != ':' => {
                    name.push(character);
                    continue;
                }
                end => end,
            };
            if name.is_empty() {
                return None;
            }
            path.push(take(&mut name));
            if end != Some('.') {
                return Some((Self(path), end.map(|_| rest.as_str())));
            }
        }
    }

    /// Returns the names, from the outside to the inside.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
impl<const N: usize> From<[&str; N]> for ClaimPath {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(str::to_owned).to_vec())
    }
}
