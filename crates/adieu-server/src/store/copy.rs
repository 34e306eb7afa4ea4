//! Migration between stores: copies everything from one store to another, so that no user is logged out and no revoked token is accepted
//! again.
//!
//! 1. The source is locked meanwhile: writes to it are answered 503.
//! 2. Keys are copied last. A server started on an incomplete copy can't verify any token of the source, so it accepts no token whose
//!    revocation has not been copied.
//! 3. The same command resumes an interrupted copy. Completed steps are not repeated, since the target is in use from there on: a session
//!    that has ended in it must not come back.
//! 4. A target that holds other data is rejected, and so is a source that lacks what its high-water mark has seen.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use adieu::{
    Issuer, RollbackCause, TokenId,
    restore::{HighWater, Verdict},
    revocation::{Cursor, LogId, Position, Revocation, Target},
    session::Session,
    time::{Clock as _, SystemClock, Timestamp},
};
use adieu_postgres::Postgres;
use adieu_sqlite::Sqlite;
use anyhow::{Context as _, bail, ensure};
use rusqlite::OptionalExtension as _;
use sqlx::{Connection as _, Row as _};
use tokio::{sync::oneshot, task::JoinSet};

use super::{Main, Stores};
use crate::{
    accounts::Filter,
    aliases::AliasFilter,
    config::{Address, StoreAddress},
    deliveries::Holder,
};

/// How many rows are read at once and written in one commit.
const PART: usize = 500;

/// More invitations than there can be: the server makes no more than a thousand.
const MAX_INVITES: usize = 100_000;

/// The progress of a copy: everything but the keys, then the keys as well.
const BEGUN: i64 = 0;
const ALL_BUT_KEYS: i64 = 1;
const DONE: i64 = 2;

const SCHEMA: &[&str] = &["CREATE TABLE copy (source TEXT PRIMARY KEY, phase BIGINT NOT NULL)"];

/// The counts of copied rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Accounts.
    pub accounts: usize,
    /// Clients.
    pub clients: usize,
    /// Invitations that are valid.
    pub invites: usize,
    /// Aliases.
    pub aliases: usize,
    /// Sessions.
    pub sessions: usize,
    /// Revocations that have not expired.
    pub revocations: usize,
    /// Signing keys.
    pub keys: usize,
    /// Whether the copy was already complete, so that this call did nothing.
    pub before: bool,
}

/// Copies everything `from` one store `to` another, and calls `tell` with the counts from time to time. `marks` are the files that may
/// hold the high-water mark of the source.
///
/// # Errors
/// Fails if a store can't be used, if the source was rolled back, or if the target holds other data. Completed steps stay, and the same
/// call resumes from there.
pub async fn copy(
    from: &StoreAddress,
    to: &StoreAddress,
    marks: &[PathBuf],
    mut tell: impl FnMut(&Copied),
) -> anyhow::Result<Copied> {
    let source = open(from).await?;
    for mark in marks {
        ensure_not_rolled_back(&source, from, mark).await?;
    }
    let target = open(to).await?;
    let (source_log, target_log) = (log_id(&source).await?, log_id(&target).await?);
    ensure!(source_log != target_log, "{from} and {to} are the same store, or copies of its file");
    match &target.main {
        Main::Sqlite(store) => store.migrate("copies", SCHEMA).await?,
        Main::Postgres(store) => store.migrate("copies", SCHEMA).await?,
    }
    let mut copied = Copied::default();
    match phase(&target, &source_log).await? {
        Some(DONE) => return Ok(Copied { before: true, ..copied }),
        Some(_) => {}
        None => {
            ensure!(is_empty(&target).await?, "{to} is not empty");
            set_phase(&target, &source_log, BEGUN).await?;
        }
    }
    let still = HeldStill::hold(&source, from).await?;
    if phase(&target, &source_log).await? == Some(BEGUN) {
        revocations(&source, &target, &mut copied, &mut tell).await?;
        clients(&source, &target, &mut copied).await?;
        aliases(&source, &target, &mut copied).await?;
        accounts(&source, &target, &mut copied, &mut tell).await?;
        invites(&source, &target, &mut copied).await?;
        sessions(&source, &target, &mut copied, &mut tell).await?;
        deliveries(&source, &target).await?;
        set_phase(&target, &source_log, ALL_BUT_KEYS).await?;
    }
    for key in source.core().keys().await? {
        target.core().replace_keys(Some(key), vec![]).await?;
        copied.keys += 1;
    }
    set_phase(&target, &source_log, DONE).await?;
    drop(still);
    Ok(copied)
}

async fn open(address: &StoreAddress) -> anyhow::Result<Stores> {
    let stores = Stores::open_at(address, None, false).await?;
    stores.checked(address).await?;
    stores.migrate().await?;
    Ok(stores)
}

/// A copy has another log: the mark of the source would not detect later that revocations are missing.
async fn ensure_not_rolled_back(source: &Stores, from: &StoreAddress, file: &Path) -> anyhow::Result<()> {
    // First the mark, then the log, which a server may be appending to.
    let (Some(mark), Some(restorable)) = (HighWater::inspect(file)?, source.core().restorable()) else { return Ok(()) };
    match mark.compare(&restorable.inspect(mark.anchor()).await?) {
        // The mark may be that of another store, and this one has never had a revocation.
        Verdict::RolledBack(RollbackCause::Emptied) | Verdict::Another | Verdict::Continued => Ok(()),
        Verdict::RolledBack(why) => bail!(
            "{from} was restored from an older copy, as the high-water mark {} shows: {why}. Run `adieu log accept-restore` on it \
             first, which revokes every token that was issued before",
            file.display()
        ),
    }
}

async fn log_id(stores: &Stores) -> anyhow::Result<String> {
    let nowhere = Cursor { log: LogId::random(), position: Position::START };
    let page = stores.core().read(Some(&nowhere), Duration::ZERO).await?;
    Ok(page.cursor.log.as_str().to_owned())
}

/// Returns whether the target holds nothing but a key, which a server creates at its start.
async fn is_empty(target: &Stores) -> anyhow::Result<bool> {
    let core = target.core();
    Ok(core.read(None, Duration::ZERO).await?.entries.is_empty()
        && core.sessions(None, 1).await?.is_empty()
        && target.accounts().list(&Filter::default(), None, 1).await?.is_empty()
        && target.accounts().invites(SystemClock.now(), 1).await?.is_empty()
        && target.clients().clients().await?.is_empty()
        && target.aliases().aliases(&AliasFilter::default(), None, 1).await?.is_empty())
}

async fn revocations(
    source: &Stores,
    target: &Stores,
    copied: &mut Copied,
    tell: &mut impl FnMut(&Copied),
) -> anyhow::Result<()> {
    let (source, target) = (source.core(), target.core());
    let mut after = None;
    loop {
        let page = source.read(after.as_ref(), Duration::ZERO).await?;
        copied.revocations += page.entries.len();
        if !page.entries.is_empty() {
            target.append(page.entries).await?;
            tell(copied);
        }
        if page.complete {
            return mark_pruned(&*target, page.pruned_through).await;
        }
        after = Some(page.cursor);
    }
}

/// Copies the time through which revocations were pruned. If the clock goes back, a token whose revocation the source has pruned must stay
/// rejected: the target has no revocation of it either. The mark is set by pruning an entry.
async fn mark_pruned(target: &dyn adieu::store::Store, pruned_through: Timestamp) -> anyhow::Result<()> {
    if target.read(None, Duration::ZERO).await?.pruned_through >= pruned_through {
        return Ok(());
    }
    let id = TokenId::random();
    let target_of = Target::Token { id, expires_at: Some(pruned_through) };
    let lapsed = Revocation { issuer: Issuer::new("adieu store copy")?, target: target_of, lapses_at: pruned_through };
    target.append(vec![lapsed]).await?;
    while !target.prune(pruned_through).await?.complete {}
    Ok(())
}

async fn clients(source: &Stores, target: &Stores, copied: &mut Copied) -> anyhow::Result<()> {
    for client in source.clients().clients().await? {
        // A client that exists was copied by the previous run: the target was empty.
        target.clients().add_client(client).await?;
        copied.clients += 1;
    }
    Ok(())
}

async fn aliases(source: &Stores, target: &Stores, copied: &mut Copied) -> anyhow::Result<()> {
    let (source, target) = (source.aliases(), target.aliases());
    let mut after = None;
    loop {
        let part = source.aliases(&AliasFilter::default(), after.as_ref(), PART).await?;
        let Some(last) = part.last() else { return Ok(()) };
        after = Some(last.named.clone());
        copied.aliases += part.len();
        target.add_aliases(part).await?;
    }
}

async fn accounts(
    source: &Stores,
    target: &Stores,
    copied: &mut Copied,
    tell: &mut impl FnMut(&Copied),
) -> anyhow::Result<()> {
    let (source, target) = (source.accounts(), target.accounts());
    let mut after = None;
    loop {
        let part = source.list(&Filter::default(), after.as_ref(), PART).await?;
        let Some(last) = part.last() else { return Ok(()) };
        after = Some(last.id.clone());
        copied.accounts += part.len();
        let added = target.add(part.clone()).await?;
        for (account, _) in part.iter().zip(added).filter(|(_, added)| !added) {
            // Added by the previous run; otherwise another account has the name.
            if target.by_id(&account.id).await?.is_none() {
                bail!("there is another user with the name {}", account.username);
            }
        }
        tell(copied);
    }
}

/// Copies the invitations that can still be used. One that was used at the source meanwhile is not among them: the source is locked.
async fn invites(source: &Stores, target: &Stores, copied: &mut Copied) -> anyhow::Result<()> {
    let (source, target, now) = (source.accounts(), target.accounts(), SystemClock.now());
    let known = target.invites(now, MAX_INVITES).await?;
    for invite in source.invites(now, MAX_INVITES).await? {
        copied.invites += 1;
        // Added by the previous run.
        if !known.iter().any(|known| known.id == invite.id) {
            target.add_invite(invite).await?;
        }
    }
    Ok(())
}

async fn sessions(
    source: &Stores,
    target: &Stores,
    copied: &mut Copied,
    tell: &mut impl FnMut(&Copied),
) -> anyhow::Result<()> {
    let core = source.core();
    let mut after = None;
    loop {
        let part: Vec<Session> = core.sessions(after.as_ref(), PART).await?;
        let Some(last) = part.last() else { return Ok(()) };
        after = Some(last.key());
        copied.sessions += part.len();
        // Concurrently, so that they share commits.
        let mut writing = JoinSet::new();
        for session in part {
            let target = target.core();
            writing.spawn(async move { target.create(session).await });
        }
        while let Some(written) = writing.join_next().await {
            written??;
        }
        tell(copied);
    }
}

/// Lets each receiver of webhooks begin again at the beginning of the log: a position in the source means nothing in the target, and a
/// receiver that the target does not know would not get what the source has not delivered.
async fn deliveries(source: &Stores, target: &Stores) -> anyhow::Result<()> {
    let beginning = Cursor { log: LogId::random(), position: Position::START };
    let (never, target) = (Timestamp::from_unix(0), target.deliveries());
    let nobody = Holder { id: String::new(), until: never };
    for delivery in source.deliveries().deliveries().await? {
        target.claim(&delivery.receiver, &nobody, never, &beginning).await?;
        target.replay(&delivery.receiver).await?;
    }
    Ok(())
}

async fn phase(target: &Stores, source: &str) -> Result<Option<i64>, adieu::Error> {
    const PHASE: &str = "SELECT phase FROM copy WHERE source = $1";
    match &target.main {
        Main::Sqlite(store) => {
            let source = source.to_owned();
            store.query(move |connection| connection.query_row(PHASE, [&source], |row| row.get(0)).optional()).await
        }
        Main::Postgres(store) => {
            let row = store.fetch_optional(sqlx::query(PHASE).bind(source)).await?;
            row.map(|row| row.try_get(0)).transpose().map_err(adieu::Error::unavailable)
        }
    }
}

async fn set_phase(target: &Stores, source: &str, phase: i64) -> Result<(), adieu::Error> {
    const SET: &str =
        "INSERT INTO copy (source, phase) VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET phase = excluded.phase";
    match &target.main {
        Main::Sqlite(store) => {
            let source = source.to_owned();
            store.transact(move |connection| connection.execute(SET, rusqlite::params![source, phase])).await.map(drop)
        }
        Main::Postgres(store) => store.execute(sqlx::query(SET).bind(source).bind(phase)).await.map(drop),
    }
}

/// A store that is locked for writing until this value is dropped.
#[expect(dead_code, reason = "it is held for as long as it is there")]
enum HeldStill {
    Sqlite(mpsc::Sender<()>),
    Postgres(sqlx::PgConnection),
}

impl HeldStill {
    async fn hold(stores: &Stores, address: &StoreAddress) -> anyhow::Result<Self> {
        match (&stores.main, address) {
            (Main::Sqlite(store), _) => hold_file(store).await,
            (Main::Postgres(store), StoreAddress::Postgres(url)) => hold_database(store, url).await,
            (Main::Postgres(_), StoreAddress::Sqlite(_)) => bail!("the store is not where it was opened"),
        }
    }
}

/// Locks a file with a transaction that stays open and writes nothing.
async fn hold_file(store: &Sqlite) -> anyhow::Result<HeldStill> {
    let (held, is_held) = oneshot::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let mut held = Some(held);
    let store = store.clone();
    tokio::spawn(async move {
        let holding = store.transact(move |_| {
            held.take().map(|held| held.send(()));
            // An error means that the holder has dropped it.
            let _released = is_released.recv();
            Ok(())
        });
        holding.await
    });
    is_held.await.context("the store can't be held still")?;
    Ok(HeldStill::Sqlite(release))
}

/// Locks a database on a connection of its own. Readers are not blocked.
async fn hold_database(store: &Postgres, url: &Address) -> anyhow::Result<HeldStill> {
    const HOLD: &str = "SET lock_timeout = 10000; SET idle_in_transaction_session_timeout = 0; BEGIN; \
        LOCK TABLE adieu.account, adieu.invite, adieu.client, adieu.alias, adieu.session, adieu.signing_key, adieu.revocation IN SHARE MODE";
    let cannot = || format!("{} can't be held still", store.address());
    let mut connection = sqlx::PgConnection::connect(url.expose()).await.with_context(cannot)?;
    sqlx::raw_sql(HOLD).execute(&mut connection).await.with_context(cannot)?;
    Ok(HeldStill::Postgres(connection))
}
