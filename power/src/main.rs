//! Cuts the power under a running node, and checks that nothing that was acknowledged is lost.
//!
//! A node, and PostgreSQL or Redis if it uses one, runs on a disk in memory ([`disk`], [`mount`]) under a load of logins, refreshes and
//! logouts ([`load`]). At random moments ([`cut`]) the program keeps the state of the disk and what clients knew. For each, it makes several
//! folders that may be left of the disk, and starts a node on each ([`check`]). The node under load goes on meanwhile, and is then
//! started again on one of these folders, and so on.
//!
//! Then it does the same with disks that ignore one sync each, as if the program had omitted it: each must be found.
//!
//! `power-loss PROGRAM ENGINE CUTS`: the path of `adieu`, and `sqlite`, `postgres` or `redis`. `POWER_SEED` repeats the choices of a run.
#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

mod check;
mod cut;
mod disk;
mod load;
mod mount;
mod node;
mod proof;

use std::process::ExitCode;

use fastrand::Rng;
use load::SECRET;
use node::{Engine, Program};
use proof::Proof;
use tokio::task::LocalSet;

/// The number of cuts that have to be enough to find an omitted sync.
const CUTS_FOR_A_MUTANT: usize = 300;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [path, engine, cuts] = words.as_slice() else { anyhow::bail!("usage: power-loss PROGRAM ENGINE CUTS") };
    let engine = match engine.as_str() {
        "sqlite" => Engine::Sqlite,
        "postgres" => Engine::Postgres,
        "redis" => Engine::Redis,
        other => anyhow::bail!("unknown engine {other}; there are sqlite, postgres and redis"),
    };
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(&secret, SECRET)?;
    let program = Program { engine, path: path.clone(), secret: secret.path().to_owned() };
    let seed = std::env::var("POWER_SEED").ok().map_or_else(|| Ok(fastrand::u64(..)), |seed| seed.parse())?;
    println!("POWER_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    LocalSet::new().run_until(prove(&program, cuts.parse()?, &mut random)).await
}

async fn prove(program: &Program, cuts: usize, random: &mut Rng) -> anyhow::Result<ExitCode> {
    match Proof::new(program, None, random.fork()).run(cuts).await {
        Ok(summary) => println!("{summary}\n\n| omitted sync | found after | by |\n|---|---|---|"),
        Err((cuts, error)) => {
            println!("FAILED after {cuts} cuts: {error:#}");
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut outcome = ExitCode::SUCCESS;
    for (place, what) in program.engine.syncs() {
        match Proof::new(program, Some(place), random.fork()).run(CUTS_FOR_A_MUTANT).await {
            Ok(_) => {
                println!("| {what} | NOT FOUND | |");
                outcome = ExitCode::FAILURE;
            }
            Err((cuts, error)) => println!("| {what} | {cuts} cuts | {} |", shown(&error)),
        }
    }
    Ok(outcome)
}

/// Returns the beginning of what was found, in one line.
fn shown(error: &anyhow::Error) -> String {
    let error = format!("{error:#}").replace('\n', " ");
    error.chars().take(300).collect()
}
