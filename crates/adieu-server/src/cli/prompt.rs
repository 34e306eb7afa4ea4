//! Prompts, and the input that standard input provides instead.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::output::visible;
use crate::{
    config::Settings,
    text::{MAX_PASSWORD_BYTES, Password, TextError},
};

/// Where a password comes from; never from an argument, which other users of the machine can see.
#[derive(Debug, Args)]
pub(super) struct PasswordSource {
    /// Read the password from standard input (one line) instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordSource {
    /// Reads a new password: from standard input, or from two prompts without echo.
    pub(super) fn read(&self, settings: &Settings) -> anyhow::Result<Password> {
        let typed = if self.password_stdin { password_from(io::stdin().lock())? } else { ask_twice()? };
        Password::chosen(typed, settings.min_password_length.get())
            .map_err(|refusal| anyhow!("the password is refused: {}", phrase(&refusal)))
    }
}

/// Converts an error that is a sentence for a form into a phrase.
pub(super) fn phrase(refusal: &TextError) -> String {
    let sentence = refusal.to_string();
    let mut characters = sentence.trim_end_matches('.').chars();
    let first = characters.next().map(char::to_lowercase).into_iter().flatten();
    first.chain(characters).collect()
}

fn ask_twice() -> anyhow::Result<SecretString> {
    let ask = |question| {
        rpassword::prompt_password(question)
            .map(SecretString::from)
            .context("cannot ask for the password; give it with --password-stdin")
    };
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    ensure!(first.expose_secret() == second.expose_secret(), "the two passwords differ");
    Ok(first)
}

/// Asks on the terminal, without echoing the input.
pub(super) fn hidden(question: &str) -> anyhow::Result<SecretString> {
    rpassword::prompt_password(visible(question)).map(SecretString::from).context("cannot ask for the password")
}

fn password_from(input: impl io::Read) -> anyhow::Result<SecretString> {
    const MAX_BYTES: usize = MAX_PASSWORD_BYTES + "\r\n".len();
    let mut bytes = Vec::with_capacity(MAX_BYTES + 1);
    input.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    ensure!(bytes.len() <= MAX_BYTES, "the password is refused: longer than maximum length {MAX_PASSWORD_BYTES}");
    let text = SecretString::from(String::from_utf8(bytes).map_err(|_| anyhow!("the password is not UTF-8"))?);
    let line = text.expose_secret();
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(!line.contains('\n'), "there is more than one line on standard input, which should be the password only");
    Ok(line.into())
}

/// Reads the first line of standard input, for values that should stay out of the shell's history.
pub(super) fn first_line(what: &str, most: usize) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        // A hint; without standard error it is not needed.
        let _told = writeln!(io::stderr(), "Paste the {what} and press Enter:");
    }
    let mut bytes = Vec::new();
    // Input that is too long stays too long, so that the caller rejects it.
    io::stdin().lock().take(most as u64 + 2).read_until(b'\n', &mut bytes).context("cannot read standard input")?;
    let line = String::from_utf8(bytes).map_err(|_| anyhow!("the {what} is not UTF-8"))?;
    ensure!(!line.trim().is_empty(), "no {what} on standard input");
    Ok(line.trim().to_owned())
}

/// Asks whether to continue. Without a terminal, requires `--yes`.
pub(super) fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("this would {what}; say --yes if that is meant");
    }
    write!(io::stderr(), "This will {}. Type yes to go on: ", visible(what)).context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().take(16).read_line(&mut answer).context("cannot read the answer")?;
    ensure!(answer.trim().eq_ignore_ascii_case("yes"), "nothing was done");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<String, String> {
        let secret = password_from(input.as_bytes()).map_err(|error| error.to_string())?;
        Ok(secret.expose_secret().to_owned())
    }

    #[test]
    fn a_password_is_one_line_without_its_end() {
        assert_eq!(read("1234\n"), Ok("1234".to_owned()));
        assert_eq!(read("1234\r\n"), Ok("1234".to_owned()));
        assert_eq!(read(" 12 34 "), Ok(" 12 34 ".to_owned()));
        assert_eq!(read(""), Ok(String::new()));
        assert!(read("1234\n5678\n").unwrap_err().contains("more than one line"));
        assert!(read(&"é".repeat(5_000)).unwrap_err().contains("longer than"));
    }
}
