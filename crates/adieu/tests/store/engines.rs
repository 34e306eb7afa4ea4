//! The engines that the suite runs against, and what its tests are made of.

use std::{path::PathBuf, time::Duration};

use adieu::{
    Issuer, SessionId, Subject, TokenId,
    revocation::{Cursor, Revocation, RevocationLog, Target},
    session::{Origin, Session, SessionStore},
    store::{Memory, Sqlite},
    time::Timestamp,
};

/// Makes a test of each function for each engine. A new engine is one line here and a [`Place`] below.
macro_rules! every_engine {
    ($($test:ident)*) => {
        every_engine!(memory: crate::engines::InMemory, $($test)*);
        every_engine!(sqlite: crate::engines::OnFile, $($test)*);
    };
    ($engine:ident: $place:ty, $($test:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test::<$place>().await;
                }
            )*
        }
    };
}

/// Where an engine keeps things.
pub(crate) trait Place {
    type Store: RevocationLog + SessionStore + Clone;

    /// A place where nothing has been kept yet.
    fn empty() -> Self;

    /// What is kept there, as another process would open it, or this one after a restart.
    async fn open(&self) -> Self::Store;
}

/// The process is the place: whoever opens it again shares it.
pub(crate) struct InMemory(Memory);

impl Place for InMemory {
    type Store = Memory;

    fn empty() -> Self {
        Self(Memory::new())
    }

    async fn open(&self) -> Memory {
        self.0.clone()
    }
}

pub(crate) struct OnFile(tempfile::TempDir);

impl OnFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("adieu.sqlite")
    }
}

impl Place for OnFile {
    type Store = Sqlite;

    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.path()).await.unwrap()
    }
}

pub(crate) const NOON: Timestamp = Timestamp::from_unix(1_800_000_000);

pub(crate) fn after(seconds: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(seconds))
}

pub(crate) fn issuer() -> Issuer {
    Issuer::new("https://adieu.test").unwrap()
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

/// The revocation of a token of this name, which lapses in an hour.
pub(crate) fn token(name: impl AsRef<str>) -> Revocation {
    lapsing(name, after(3_600))
}

pub(crate) fn lapsing(name: impl AsRef<str>, lapses_at: Timestamp) -> Revocation {
    Revocation {
        issuer: issuer(),
        target: Target::Token { id: TokenId::new(name).unwrap(), expires_at: Some(NOON) },
        lapses_at,
    }
}

/// A session that has just begun, whose access token lives for a quarter of an hour and which lives for a day.
pub(crate) fn session(of: &str) -> Session {
    Session {
        id: SessionId::random(),
        subject: subject(of),
        created_at: NOON,
        last_seen_at: NOON,
        origin: Origin::default(),
        refresh_id: TokenId::random(),
        previous_refresh_id: None,
        refreshed_at: NOON,
        refresh_expires_at: after(86_400),
        expires_at: after(86_400),
        access_expires_at: after(900),
    }
}

/// Everything after the cursor, page by page, and where it ends.
pub(crate) async fn read_all(log: &impl RevocationLog, after: Option<&Cursor>) -> (Vec<Revocation>, Cursor) {
    let mut entries = Vec::new();
    let mut page = log.read(after, Duration::ZERO).await.unwrap();
    loop {
        entries.extend(page.entries);
        if page.complete {
            return (entries, page.cursor);
        }
        page = log.read(Some(&page.cursor), Duration::ZERO).await.unwrap();
    }
}
