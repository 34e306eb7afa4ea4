//! The store of aliases. SQL that the engines share is here.

mod postgres;
mod sqlite;

use std::collections::HashMap;

use adieu::{Error, Issuer, Subject, time::Timestamp};
use adieu_events::Alias;
use async_trait::async_trait;

pub use postgres::{is_migrated_postgres, migrate_postgres};
pub use sqlite::{is_migrated, migrate};

/// The maximum number of subjects with the same alias. One more takes the place of the one that was seen the longest ago.
pub const MAX_SUBJECTS: usize = 16;

/// An alias, and one of the subjects that have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// The issuer of the subject: the same alias at another issuer may be another user's.
    pub issuer: Issuer,
    /// The alias.
    pub alias: Alias,
    /// The subject.
    pub subject: Subject,
}

impl Named {
    /// Returns the values of the columns that name it: issuer, kind, value and subject.
    fn columns(&self) -> [&str; 4] {
        [self.issuer.as_str(), self.alias.kind().as_str(), self.alias.value(), self.subject.as_str()]
    }
}

/// An alias in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAlias {
    /// The alias, and its subject.
    pub named: Named,
    /// When it was last seen or added, behind by up to an hour.
    pub seen_at: Timestamp,
}

/// Which aliases a list has: those that meet every condition. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AliasFilter {
    /// They are of this issuer.
    pub issuer: Option<Issuer>,
    /// They are this one.
    pub alias: Option<Alias>,
    /// They are of this subject.
    pub subject: Option<Subject>,
}

/// Which aliases of an issuer are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// This one, of one subject or of all.
    Alias(Alias, Option<Subject>),
    /// All of this subject.
    Subject(Subject),
}

/// A store of aliases. Each call is one atomic step, durable when it returns.
#[async_trait]
pub trait AliasStore: Send + Sync + 'static {
    /// Adds aliases. One that is known gets the later time, if it is later by an hour. Returns how many others have lost their place (see
    /// [`MAX_SUBJECTS`]).
    ///
    /// # Errors
    /// Fails if the store cannot be written; no alias was then added.
    async fn add_aliases(&self, aliases: Vec<KnownAlias>) -> Result<u64, Error>;

    /// Returns the subjects of an issuer with each of these aliases. An alias that none has is left out.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn subjects_with(&self, issuer: &Issuer, aliases: Vec<Alias>) -> Result<HashMap<Alias, Vec<Subject>>, Error>;

    /// Returns at most `limit` aliases after `after` that meet the filter, by issuer, kind, value and subject. With a filter that few aliases
    /// meet, it reads all of them.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    async fn aliases(
        &self,
        filter: &AliasFilter,
        after: Option<&Named>,
        limit: usize,
    ) -> Result<Vec<KnownAlias>, Error>;

    /// Removes aliases of an issuer. Returns how many.
    ///
    /// # Errors
    /// Fails if the store cannot be written; no alias was then removed.
    async fn remove_aliases(&self, issuer: &Issuer, which: &Removal) -> Result<u64, Error>;
}

/// The table, the same in both engines but for the collation.
macro_rules! table {
    ($text:literal) => {
        concat!(
            "CREATE TABLE alias (issuer ",
            $text,
            " NOT NULL, kind ",
            $text,
            " NOT NULL, value ",
            $text,
            " NOT NULL, subject ",
            $text,
            " NOT NULL, seen_at BIGINT NOT NULL, PRIMARY KEY (issuer, kind, value, subject))"
        )
    };
}
use table;

const INDEX: &str = "CREATE INDEX alias_subject ON alias (issuer, subject)";

const LIST: &str = "SELECT issuer, kind, value, subject, seen_at FROM alias \
    WHERE (issuer, kind, value, subject) > ($1, $2, $3, $4) \
    AND (CAST($5 AS TEXT) IS NULL OR issuer = $5) \
    AND (CAST($6 AS TEXT) IS NULL OR (kind = $6 AND value = $7)) \
    AND (CAST($8 AS TEXT) IS NULL OR subject = $8) \
    ORDER BY issuer, kind, value, subject LIMIT $9";
const REMOVE_ALIAS: &str = "DELETE FROM alias WHERE issuer = $1 AND kind = $2 AND value = $3 \
    AND (CAST($4 AS TEXT) IS NULL OR subject = $4)";
const REMOVE_SUBJECT: &str = "DELETE FROM alias WHERE issuer = $1 AND subject = $2";

/// Reads a stored alias. One that is not in its canonical form could never be found, and so is an error.
fn read(issuer: &str, kind: &str, value: &str, subject: &str, seen_at: u64) -> Result<KnownAlias, ReadError> {
    let alias = Alias::new(kind.parse()?, value)?;
    if alias.value() != value {
        return Err("an alias is not in its canonical form".into());
    }
    let named = Named { issuer: Issuer::new(issuer)?, alias, subject: Subject::new(subject)? };
    Ok(KnownAlias { named, seen_at: Timestamp::from_unix(seen_at) })
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;
