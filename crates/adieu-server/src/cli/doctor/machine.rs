//! Checks of the machine: files, addresses, disk, clock and limits.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use adieu::{
    restore::LogState,
    revocation::Target,
    time::{Clock as _, SystemClock, Timestamp},
};

use anyhow::Context as _;

use super::Check;
#[cfg(unix)]
use crate::listen::{Access, check_socket};
use crate::{
    cli::output::written,
    config::{Found, ListenAddress, Settings},
    exposure::{exposed_files, exposed_settings},
    high_water,
    listen::{connections_within, raise_descriptor_limit},
    store::{create_private, store_file},
};

/// How often a write is synced to measure the disk.
const SYNCS: usize = 16;
/// A commit that takes longer than this makes logouts slow.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// The free space below which a disk is nearly full, and below which it is full for a store.
const LITTLE_SPACE: u64 = 1 << 30;
const NO_SPACE: u64 = 64 << 20;
/// How far a clock may be behind what was written earlier: steps of a clock that is kept in sync.
const TOLERANCE: Duration = Duration::from_secs(60);
/// 2026-01-01: this program did not exist before.
const EARLIEST: Timestamp = Timestamp::from_unix(1_767_225_600);

/// Checks who can read and change the files of the server, one of which may be that of the settings, and that there can be the mark.
pub(super) fn files(settings: &Settings, origins: &[Found], mut check: Check<'_>) {
    if let Err(error) = high_water::check(settings).and_then(|()| may_have_mark(settings)) {
        check.fail(format!("{error:#}; set high_water_file to a file that the user of the server can write"));
    }
    let mut exposed = exposed_files(settings);
    exposed.extend(exposed_settings(origins));
    check.warn_of_all(exposed, "only the server's user can read and change its files");
}

fn may_have_mark(settings: &Settings) -> anyhow::Result<()> {
    let Some(file) = &settings.high_water_file else { return Ok(()) };
    let existing = file.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists());
    may_write(existing.unwrap_or(Path::new("."))).with_context(|| format!("high_water_file {}", file.display()))
}

/// Checks that lines can be appended to the file of the audit trail, or that it can be created.
pub(super) fn audit_log(settings: &Settings, mut check: Check<'_>) {
    let Some(file) = &settings.audit_log else { return check.ok("not used") };
    match writable(file) {
        Ok(()) => check.ok(format!("{} can be written", file.display())),
        Err(error) => check.fail(format!(
            "audit_log {} can't be written: {error}; give it to the user of the server, in a folder that exists",
            file.display()
        )),
    }
}

/// Checks that this process may write to a file or, if there is none, create it.
fn writable(file: &Path) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => may_write(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::metadata(parent(file))?.is_dir() {
            true => may_write(parent(file)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        },
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Checks that the addresses to listen on differ and are of this machine, and that there can be the sockets.
pub(super) fn addresses(settings: &Settings, mut check: Check<'_>) {
    let listened = settings.listen.iter().map(|address| ("listen", address.clone()));
    let metrics = settings.metrics_listen.map(|address| ("metrics_listen", ListenAddress::Tcp(address)));
    let console = settings.console_listen.map(|address| ("console_listen", ListenAddress::Tcp(address)));
    let all: Vec<_> = listened.chain(metrics).chain(console).collect();
    let mut has_problem = false;
    let mut fail = |message: String| {
        has_problem = true;
        check.fail(message);
    };
    let mut missing = Vec::new();
    for (index, (setting, address)) in all.iter().enumerate() {
        let mut earlier = all.iter().take(index);
        if let Some((earlier, other)) = earlier.find(|(_, earlier)| is_same(earlier, address)) {
            fail(format!("{setting} {address} is taken by {earlier} {other}; use another port or path"));
        }
        match address {
            ListenAddress::Tcp(at) => {
                // On another port: a server may listen on this one.
                if let Err(error) = TcpListener::bind(SocketAddr::new(at.ip(), 0)) {
                    fail(format!("{setting} {address}: {error}; use an address of this machine"));
                }
            }
            ListenAddress::Unix(path) if !parent(path).is_dir() => missing.push((setting, path)),
            ListenAddress::Unix(path) => {
                if let Err(error) = check_socket(path) {
                    fail(format!("{setting} {address}: {error}; use another path"));
                }
            }
        }
    }
    if let Err(error) = check_access(settings) {
        fail(format!("{error}; use one of this system"));
    }
    for (setting, path) in &missing {
        check.warn(format!(
            "{setting} {}: the folder {} does not exist; create it, unless systemd does (RuntimeDirectory)",
            ListenAddress::Unix((*path).clone()),
            parent(path).display()
        ));
    }
    if !has_problem && missing.is_empty() {
        check.ok("every address is of this machine");
    }
}

/// Returns whether a server can't listen on both. The system chooses a port for 0.
fn is_same(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let is_every = one.ip().is_unspecified() || other.ip().is_unspecified();
            let is_one = one.ip() == other.ip() || one.is_ipv4() == other.is_ipv4() && is_every;
            one.port() == other.port() && one.port() != 0 && is_one
        }
        (one, other) => one == other,
    }
}

#[cfg(unix)]
fn check_access(settings: &Settings) -> io::Result<()> {
    let has_socket = settings.listen.iter().any(|address| matches!(address, ListenAddress::Unix(_)));
    if has_socket { Access::new(settings).map(drop) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_access(_: &Settings) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn check_socket(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Measures how long a write takes to reach the disk.
pub(super) fn disk(settings: &Settings, mut check: Check<'_>) {
    let folder = folder(settings);
    if !folder.exists() {
        return check.warn(format!("{} does not exist yet; `adieu serve` creates it", folder.display()));
    }
    match sync_times(&folder) {
        Err(error) => check.fail(format!(
            "{} can't be written: {error}; run this as the user of the server, and give that user the folder and space",
            folder.display()
        )),
        Ok(times) => {
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let measured = format!("a write to {} is on the disk after {median:.1?}", folder.display());
            match median > SLOW_SYNC {
                true => check.warn(format!("{measured}, and every logout waits for one; use a faster disk")),
                false => check.ok(measured),
            }
        }
    }
}

/// Returns how long each of several writes took, sorted. The file for them has no name.
fn sync_times(folder: &Path) -> io::Result<Vec<Duration>> {
    use io::Write as _;

    let path = folder.join(format!(".adieu-doctor-{}", std::process::id()));
    let mut file = create_private(&path)?;
    // An open file can be removed on Unix; elsewhere it is removed at the end.
    let removed = fs::remove_file(&path);
    let mut measure = || {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    let times: io::Result<Vec<Duration>> = (0..SYNCS).map(|_| measure()).collect();
    drop(file);
    if removed.is_err() {
        fs::remove_file(&path)?;
    }
    times.map(|mut times| {
        times.sort();
        times
    })
}

/// Checks the free space of the disk.
pub(super) fn space(settings: &Settings, mut check: Check<'_>) {
    let folder = folder(settings);
    let Some(existing) = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists()) else {
        return check.fail(format!("{} is on no disk; set data to another folder", folder.display()));
    };
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    match free_space(existing) {
        None => check.ok("not known on this system"),
        Some(Err(error)) => check.fail(format!("{} can't be read: {error}; check the disk", existing.display())),
        Some(Ok(free)) => {
            let measured = format!("{} MiB are free for {}", free >> 20, folder.display());
            match free {
                0..NO_SPACE => check.fail(format!("{measured}: logouts will be answered 503; make space")),
                NO_SPACE..LITTLE_SPACE => check.warn(format!("{measured}; make space")),
                _ => check.ok(measured),
            }
        }
    }
}

#[cfg(unix)]
fn free_space(folder: &Path) -> Option<io::Result<u64>> {
    let found = rustix::fs::statvfs(folder);
    Some(found.map(|found| found.f_bavail.saturating_mul(found.f_frsize)).map_err(io::Error::from))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<io::Result<u64>> {
    None
}

/// Compares the limit on open files with the setting, as a server does that is started from here.
pub(super) fn descriptors(settings: &Settings, mut check: Check<'_>) {
    let (wanted, limit) = (settings.max_connections.get(), raise_descriptor_limit());
    let allowed = connections_within(limit);
    let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("a limit of {limit}"));
    match wanted > allowed {
        true => check.warn(format!(
            "{limit} on open files allows {allowed} connections, and max_connections is {wanted}; raise `ulimit -Hn`, or \
             LimitNOFILE of a unit, or lower max_connections"
        )),
        false => check.ok(format!("{limit} on open files, for {wanted} connections")),
    }
}

/// Compares the clock with the latest time at which the store is known to have been written.
pub(super) fn clock(settings: &Settings, log: Option<&LogState>, mut check: Check<'_>) {
    let now = SystemClock.now();
    let latest = files_of(settings).iter().filter_map(|file| modified(file)).chain(log.and_then(latest_in)).max();
    let shown = format!("it is {}", written(now));
    if now < EARLIEST {
        return check.fail(format!("{shown}, before this program was made; set the clock, and keep it in sync by NTP"));
    }
    match latest.filter(|latest| *latest > now.plus(TOLERANCE)) {
        Some(latest) => check.fail(format!(
            "{shown}, but the store was written at {}: expired tokens are accepted; set the clock, and keep it in sync by NTP",
            written(latest)
        )),
        None => check.ok(match latest {
            Some(latest) => format!("{shown}; the store was written at {}", written(latest)),
            None => shown,
        }),
    }
}

/// Returns a time that the clock had when the log was written.
fn latest_in(log: &LogState) -> Option<Timestamp> {
    let cut_off = log.last.as_ref().and_then(|last| match &last.target {
        Target::Subject { issued_until, .. } | Target::Everything { issued_until } => Some(*issued_until),
        _ => None,
    });
    cut_off.max(Some(log.pruned_through))
}

fn modified(file: &Path) -> Option<Timestamp> {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified()).ok()?;
    Some(Timestamp::from_unix(modified.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()))
}

/// Returns the files that change with every entry of the log.
fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let mut files = vec![high_water::file(settings)];
    if let Some(store) = store_file(settings) {
        let mut log = store.clone().into_os_string();
        log.push("-wal");
        files.extend([store, log.into()]);
    }
    files
}

/// Returns the folder in which each logout is written: that of the store, or of the high-water mark.
fn folder(settings: &Settings) -> PathBuf {
    parent(&store_file(settings).unwrap_or_else(|| high_water::file(settings))).to_owned()
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
