//! Where the file is that remembers how far the log has been; see [`adieu::restore`].
//!
//! Unless the settings name a place, it is beside the data folder and not in it: whoever copies the folder and puts the copy back
//! would take it along, and nothing would be noticed. It is in the folder only where nothing can be kept beside it: where that may not be
//! written to, or where the folder is a file system of its own, as the volume of a container is; the log says so.

use std::path::{Path, PathBuf};

use adieu::restore::HighWater;
use anyhow::Context as _;

use crate::{config::Settings, store::prepare_folder};

/// In the data folder.
const FILE: &str = "high-water";
/// What follows the name of the data folder, beside it.
const SUFFIX: &str = ".high-water";

/// The file of the settings, which may not be there.
#[must_use]
pub fn file(settings: &Settings) -> PathBuf {
    let Some(file) = &settings.high_water else {
        let inside = settings.data.join(FILE);
        return match beside(&settings.data) {
            // One that is empty was about to take over from the other.
            Some(beside) if has_content(&beside) || !has_content(&inside) => beside,
            _ => inside,
        };
    };
    file.clone()
}

/// The file that a node is to use, in a folder that is there. A command makes none: where no server runs, it would be
/// somewhere else with each command.
///
/// # Errors
/// When its folder can't be made, or a file can't be used that is there.
pub fn of(settings: &Settings, makes_one: bool) -> anyhow::Result<Option<PathBuf>> {
    if makes_one {
        return match &settings.high_water {
            Some(file) => prepare_folder(file).context("high_water").map(|()| Some(file.clone())),
            None => default_of(&settings.data).map(Some),
        };
    }
    let file = file(settings);
    Ok(file.exists().then_some(file))
}

/// Makes the file beside the data folder, or in it, and moves there what is in the other.
fn default_of(data: &Path) -> anyhow::Result<PathBuf> {
    let inside = data.join(FILE);
    prepare_folder(&inside).context("high_water")?;
    match open_beside(data)? {
        Ok(mark) => {
            if mark.take_over(&inside)? {
                tracing::info!(from = %inside.display(), to = %mark.path().display(), "the high-water mark was moved");
            }
            Ok(mark.path().to_owned())
        }
        Err(why) => {
            tracing::warn!(
                "the high-water mark is kept in the data folder, since {why}: a copy of the whole folder that is put back goes \
                 unnoticed. Set high_water to a file elsewhere, on a disk that stays"
            );
            Ok(inside)
        }
    }
}

/// The file beside the data folder, or why there can be none.
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
    // `.`, `..` and `/` are no names.
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
