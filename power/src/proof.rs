//! Lives of a node, each with many cuts.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    check::{Found, check, check_restored},
    cut::{Cut, is_at},
    disk::{Disk, Survivors},
    load::{Ledger, Load, register},
    mount::Mounted,
    node::{Engine, Node, Program},
};

/// How often a node is started on what a cut has left, and how often the power fails in between.
const ROUNDS: usize = 4;
const CUTS_AT_START: usize = 3;
const CUTS_UNDER_LOAD: [usize; 3] = [6, 6, 6];
const CUTS_AT_STOP: usize = 3;
/// Nodes that are checked at once.
const CHECKS: usize = 2;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What was proved.
#[derive(Debug, Default)]
pub struct Summary {
    pub cuts: usize,
    logouts: usize,
    moments: BTreeMap<&'static str, usize>,
    places: BTreeMap<&'static str, usize>,
    found: Found,
    took: Duration,
}

/// The proof of an engine, with one sync ignored or none.
pub struct Proof {
    program: Program,
    ignored: Option<&'static str>,
    random: Rng,
    summary: Summary,
}

impl Proof {
    /// Returns a proof that has not begun.
    pub fn new(program: &Program, ignored: Option<&'static str>, random: Rng) -> Self {
        Self { program: program.clone(), ignored, random, summary: Summary::default() }
    }

    /// Lets the power fail this many times.
    ///
    /// # Errors
    /// The first thing that is not as it was promised.
    pub async fn run(mut self, cuts: usize) -> Result<Summary, (usize, anyhow::Error)> {
        let started = Instant::now();
        while self.summary.cuts < cuts {
            if let Err(error) = self.life(cuts).await {
                return Err((self.summary.cuts, error));
            }
        }
        self.summary.took = started.elapsed();
        Ok(self.summary)
    }

    /// A node from its first start on, until the power has failed this many times in all.
    async fn life(&mut self, cuts: usize) -> anyhow::Result<()> {
        let ledger = Arc::new(Ledger::default());
        let place = temporary()?;
        self.program.engine.prepare(place.path()).await?;
        let mut disk = Disk::load(place.path())?.with_journal(self.program.engine.needs_journal());
        for round in 0..ROUNDS {
            let last = self.round(disk, &ledger, round == 0).await?;
            if self.summary.cuts >= cuts {
                break;
            }
            let place = temporary()?;
            let survivors = self.program.engine.survivors();
            last.snapshot.write(survivors[round % survivors.len()], &mut self.random, place.path())?;
            ledger.rewind(last.at);
            disk = Disk::load(place.path())?.with_journal(self.program.engine.needs_journal());
        }
        self.summary.logouts += ledger.logouts();
        Ok(())
    }

    /// A node from one start to a stop. Returns one of the last cuts.
    async fn round(&mut self, disk: Disk, ledger: &Arc<Ledger>, is_first: bool) -> anyhow::Result<Cut> {
        let place = temporary()?;
        let mounted = Mounted::new(disk, place.path(), self.ignored)?;
        let start = |wanted, places, random: &mut Rng| {
            mounted.cutter(|cutter| cutter.start(wanted, places, &ledger.clock, random.fork()));
        };

        start(CUTS_AT_START, &[""], &mut self.random);
        let node = Node::start(&self.program, place.path()).await?;
        let cuts = mounted.cutter(|cutter| cutter.take());
        self.check_all("start", &cuts, ledger).await?;

        let url = node.adieu.url("");
        if is_first {
            register(&url).await?;
        }
        let mut backup = None;
        for (burst, wanted) in CUTS_UNDER_LOAD.into_iter().enumerate() {
            start(wanted, self.program.engine.places(), &mut self.random);
            let load = Load::start(&url, ledger, &mut self.random)?;
            let upkeep = async {
                if burst == 0 {
                    node.rotate_key().await;
                }
            };
            let cut = async {
                while !mounted.cutter(|cutter| cutter.is_done()) && !load.has_failed() {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            };
            tokio::join!(upkeep, cut);
            load.stop().await?;
            let cuts = mounted.cutter(|cutter| cutter.take());
            self.check_all("load", &cuts, ledger).await?;
            match (burst, &backup) {
                (0, _) => backup = cuts.into_iter().next(),
                // The mark is synced within two seconds.
                (2, Some(backup)) => self.check_backup(backup, &cuts, ledger).await?,
                _ => {}
            }
        }

        start(CUTS_AT_STOP, &[""], &mut self.random);
        let load = Load::start(&url, ledger, &mut self.random)?;
        tokio::time::sleep(Duration::from_millis(self.random.u64(50..500))).await;
        load.expect_the_end();
        node.stop().await;
        load.stop().await?;
        let mut cuts = mounted.cutter(|cutter| cutter.take());
        self.check_all("stop", &cuts, ledger).await?;
        mounted.unmount()?;
        cuts.pop().context("a cut while the node stops")
    }

    /// Starts a node on several folders of what may be left after each cut.
    async fn check_all(&mut self, moment: &'static str, cuts: &[Cut], ledger: &Ledger) -> anyhow::Result<()> {
        let sessions = Arc::new(ledger.sessions().clone());
        let mut checks = JoinSet::new();
        for cut in cuts {
            self.summary.note_place(self.program.engine, &cut.path);
            for survivors in self.program.engine.survivors() {
                let image = temporary()?;
                cut.snapshot.write(*survivors, &mut self.random, image.path())?;
                if checks.len() >= CHECKS {
                    self.note(moment, checks.join_next().await.context("a check")??)?;
                }
                let (program, at, sessions) = (self.program.clone(), cut.at, Arc::clone(&sessions));
                let what = format!("cut at {moment}, {:?} {}, {survivors:?} is left", cut.step, cut.path);
                checks.spawn_local(async move { check(&program, image.path(), at, sessions).await.context(what) });
            }
        }
        while let Some(checked) = checks.join_next().await {
            self.note(moment, checked?)?;
        }
        Ok(())
    }

    /// Restores a backup of the store after each cut.
    async fn check_backup(&mut self, backup: &Cut, cuts: &[Cut], ledger: &Ledger) -> anyhow::Result<()> {
        if self.program.engine != Engine::Sqlite {
            return Ok(());
        }
        let sessions = Arc::new(ledger.sessions().clone());
        for cut in cuts {
            let (image, store) = (temporary()?, temporary()?);
            cut.snapshot.write(Survivors::Any, &mut self.random, image.path())?;
            backup.snapshot.write(Survivors::Nothing, &mut self.random, store.path())?;
            std::fs::remove_dir_all(image.path().join("store"))?;
            std::fs::rename(store.path().join("store"), image.path().join("store"))?;
            let checked = check_restored(&self.program, image.path(), cut.at, Arc::clone(&sessions)).await;
            self.note("restored backup", checked.with_context(|| format!("cut at load, {:?} {}", cut.step, cut.path)))?;
        }
        Ok(())
    }

    fn note(&mut self, moment: &'static str, checked: anyhow::Result<Found>) -> anyhow::Result<()> {
        self.summary.cuts += 1;
        *self.summary.moments.entry(moment).or_default() += 1;
        let found = checked?;
        self.summary.found.add(found);
        Ok(())
    }
}

/// In memory.
fn temporary() -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("adieu-power-").tempdir_in(Path::new("/dev/shm"))?;
    // PostgreSQL runs as a user of its own.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

impl Summary {
    fn note_place(&mut self, engine: Engine, path: &str) {
        let place = engine.places().iter().find(|place| !place.is_empty() && is_at(path, place));
        *self.places.entry(place.unwrap_or(&"other files and folders")).or_default() += engine.survivors().len();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, logouts, moments, places, found, took } = self;
        let counts = |counts: &BTreeMap<_, _>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        write!(
            formatter,
            "{cuts} cuts ({}; {}) and {logouts} acknowledged logouts: 0 lost. After the cuts together, {} logouts held, {} live \
             sessions worked, {} lines of the audit file were whole, {} bytes were of unfinished ones, and {} restored \
             backups were found out. {} s",
            counts(moments),
            counts(places),
            found.ended,
            found.live,
            found.lines,
            found.torn_bytes,
            found.backups,
            took.as_secs()
        )
    }
}
