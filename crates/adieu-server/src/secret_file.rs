//! Files with the secrets of webhooks.

use std::path::Path;

use adieu_events::SecretsError;
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::files;

/// Reads a file with secrets, one a line, with `parse`.
///
/// # Errors
/// If the file can't be read or parsed; the error is one line that names the file and repeats no part of a secret.
pub(crate) fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T, SecretsError>) -> anyhow::Result<T> {
    let read = || anyhow::Ok(parse(SecretString::from(files::read_text(file)?).expose_secret())?);
    read().with_context(|| format!("secret_file {}", file.display()))
}
