//! Locates the file that stores the high-water mark of the log; see [`adieu::restore`].
//!
//! By default the file is beside the data folder, not in it: a backup of the folder would contain the file, and restoring that backup
//! would then go unnoticed. The file is in the data folder only if it can't be kept beside it: if the parent folder is not writable, or
//! if the data folder is a file system of its own, such as the volume of a container. The server logs that.

use std::{
    fs::Metadata,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use adieu::restore::HighWater;
use anyhow::{Context as _, ensure};

use crate::{
    config::{Settings, StoreAddress},
    store::prepare_folder,
};

/// The file name inside the data folder.
const FILE: &str = "high-water";
/// The suffix appended to the name of the data folder for the file beside it.
const SUFFIX: &str = ".high-water";

/// Returns the path of the high-water file that the settings imply. The file may not exist.
#[must_use]
pub fn file(settings: &Settings) -> PathBuf {
    let Some(file) = &settings.high_water_file else {
        let inside = settings.data.join(FILE);
        return match beside(&settings.data) {
            // An empty file beside the folder was about to replace the one inside.
            Some(beside) if has_content(&beside) || !has_content(&inside) => beside,
            _ => inside,
        };
    };
    file.clone()
}

/// Returns the files that may hold the mark of a store that is not that of the settings: the one of the settings, and those of a data
/// folder in which a file is.
pub(crate) fn files_of(store: &StoreAddress, settings: &Settings) -> Vec<PathBuf> {
    let mut files = vec![file(settings)];
    if let StoreAddress::Sqlite(store) = store {
        let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files.extend(beside(folder));
        files.push(folder.join(FILE));
    }
    files
}

/// Returns the high-water file that a node uses; the data folder must exist. With `makes_one`, the file's location is chosen and
/// prepared. Commands pass `false`: where no server runs, each command could otherwise choose a different location.
///
/// # Errors
/// Fails if the folder of the file can't be created, or if an existing file can't be used.
pub fn of(settings: &Settings, makes_one: bool) -> anyhow::Result<Option<PathBuf>> {
    if makes_one {
        return match &settings.high_water_file {
            Some(file) => prepare_folder(file).context("high_water_file").map(|()| Some(file.clone())),
            None => default_of(&settings.data).map(Some),
        };
    }
    let file = file(settings);
    Ok(file.exists().then_some(file))
}

/// Checks, without changing anything, that a start can use the file that the settings name.
///
/// # Errors
/// Fails if it is no file, or if its folder, or the first one above it that exists, is none.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    let Some(file) = &settings.high_water_file else { return Ok(()) };
    let name = || format!("high_water_file {}", file.display());
    match file.metadata() {
        Ok(found) => ensure!(found.is_file(), "{} is not a regular file", name()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folders = file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
            let existing = folders.map(Path::metadata).find(|found| !is_missing(found));
            let is_folder = existing.unwrap_or_else(|| Path::new(".").metadata()).with_context(name)?.is_dir();
            ensure!(is_folder, "{} is not in a folder", name());
        }
        Err(error) => return Err(error).with_context(name),
    }
    Ok(())
}

fn is_missing(found: &io::Result<Metadata>) -> bool {
    found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Creates the file beside the data folder, or inside it, and moves the content of the other one there.
fn default_of(data: &Path) -> anyhow::Result<PathBuf> {
    let inside = data.join(FILE);
    prepare_folder(&inside).context("high_water_file")?;
    match open_beside(data)? {
        Ok(mark) => {
            if mark.merge_from(&inside)? {
                tracing::info!(from = %inside.display(), to = %mark.path().display(), "the high-water mark was moved");
            }
            Ok(mark.path().to_owned())
        }
        Err(why) => {
            tracing::warn!(
                "the high-water mark is in the data folder, since {why}: a restored copy of the whole folder is not \
                 detected. Set high_water_file to a file elsewhere, on a disk that stays"
            );
            Ok(inside)
        }
    }
}

/// Opens the file beside the data folder, or returns the reason why it can't be there.
fn open_beside(data: &Path) -> anyhow::Result<Result<HighWater, String>> {
    let Some(file) = beside(data) else { return Ok(Err("there is nothing beside it".to_owned())) };
    if file.exists() {
        return Ok(Ok(HighWater::open(file)?));
    }
    if is_mounted(data) {
        return Ok(Err("that is a file system of its own".to_owned()));
    }
    Ok(HighWater::open(&file).map_err(|error| format!("there can be none beside it ({error})")))
}

fn beside(data: &Path) -> Option<PathBuf> {
    // `.`, `..` and `/` have no file name.
    let folder = if data.file_name().is_some() { data.to_owned() } else { data.canonicalize().ok()? };
    let mut name = folder.file_name()?.to_owned();
    name.push(SUFFIX);
    Some(folder.with_file_name(name))
}

fn has_content(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

#[cfg(unix)]
fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |folder: &Path| folder.metadata().map(|metadata| metadata.dev()).ok();
    let Ok(folder) = folder.canonicalize() else { return false };
    folder.parent().is_some_and(|parent| device(parent) != device(&folder))
}

#[cfg(not(unix))]
fn is_mounted(_: &Path) -> bool {
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_is_beside_the_folder_whatever_that_is_called() {
        for (data, expected) in [
            ("/var/lib/adieu", "/var/lib/adieu.high-water"),
            ("/var/lib/adieu/", "/var/lib/adieu.high-water"),
            ("./adieu-data", "./adieu-data.high-water"),
            ("data.d", "data.d.high-water"),
        ] {
            assert_eq!(beside(Path::new(data)).unwrap(), Path::new(expected), "{data}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(beside(Path::new(".")).unwrap().parent(), here.parent());
        assert_eq!(beside(Path::new("/")), None);
    }
}
