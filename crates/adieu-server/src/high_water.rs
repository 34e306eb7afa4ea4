//! Where the file is that remembers how far the log has been; see [`adieu::restore`].

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{config::Settings, store::prepare_folder};

/// In the data folder, unless the settings name another place.
const FILE: &str = "high-water";

/// The file of the settings, which may not be there.
#[must_use]
pub fn file(settings: &Settings) -> PathBuf {
    settings.high_water.clone().unwrap_or_else(|| settings.data.join(FILE))
}

/// The file that a node is to use, in a folder that is there. A command makes none: where no server runs, it would be
/// somewhere else with each command.
///
/// # Errors
/// When its folder can't be made.
pub fn of(settings: &Settings, makes_one: bool) -> anyhow::Result<Option<PathBuf>> {
    let file = file(settings);
    if makes_one {
        prepare_folder(&file).context("high_water")?;
        return Ok(Some(file));
    }
    Ok(file.exists().then_some(file))
}
