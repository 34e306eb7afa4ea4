//! Hashes passwords, on separate threads and only a few at a time, because each hash takes 19 MiB and tens of milliseconds.

use std::{sync::Arc, thread::available_parallelism};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::error::{Error, Result};

#[derive(Clone)]
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    /// A hash that is verified when there is no user.
    dummy: Arc<str>,
}

impl Hasher {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let turns = available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        Ok(Self { turns: Arc::new(Semaphore::new(turns)), dummy: hash("the password of no account")?.into() })
    }

    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash(&password)).await?.map_err(|_| Error::Internal("the password could not be hashed"))
    }

    /// Returns whether the password has this hash. Without a hash it takes equally long and returns false, so that the time of a login does
    /// not reveal which users exist.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let dummy = Arc::clone(&self.dummy);
        self.run(move || {
            let hash = hash.as_deref();
            let right = Argon2::default().verify_password(password.as_bytes(), hash.unwrap_or(&dummy)).is_ok();
            right && hash.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let failed = "no password can be hashed any more";
        // The permit is held until the work is done, also if the request is cancelled.
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Internal(failed))?;
        let done = spawn_blocking(move || (work(), drop(turn)).0).await;
        done.map_err(|_| Error::Internal(failed))
    }
}

fn hash(password: &str) -> argon2::password_hash::Result<String> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
}
