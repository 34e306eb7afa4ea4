//! Signing keys in Redis.

use std::collections::HashMap;

use async_trait::async_trait;
use zeroize::{Zeroize, Zeroizing};

use super::{Redis, connection::Ask, invalid};
use adieu::{
    Error,
    time::Timestamp,
    token::{KeyStore, StoredKey},
};

#[async_trait]
impl KeyStore for Redis {
    async fn keys(&self) -> Result<Vec<StoredKey>, Error> {
        let mut all = redis::pipe();
        all.cmd("HGETALL").arg(&self.shared.keys.signing_keys);
        let (keys,) = self.read(&all).await?;
        in_order(keys)
    }

    async fn add_first_key(&self, key: StoredKey) -> Result<Vec<StoredKey>, Error> {
        let mut script = self.shared.scripts.add_first_key.prepare_invoke();
        script.key(&self.shared.keys.signing_keys).arg(&key.id).arg(to_bytes(&key).as_slice());
        in_order(self.write(Ask::Script(&script)).await?)
    }

    async fn replace_keys(&self, added: Option<StoredKey>, removed: Vec<String>) -> Result<Vec<StoredKey>, Error> {
        let mut script = self.shared.scripts.replace_keys.prepare_invoke();
        script.key(&self.shared.keys.signing_keys);
        match &added {
            Some(key) => script.arg(&key.id).arg(to_bytes(key).as_slice()),
            None => script.arg("").arg(""),
        };
        for id in &removed {
            script.arg(id);
        }
        in_order(self.write(Ask::Script(&script)).await?)
    }
}

/// The algorithm and two times, and after a space the key itself.
fn to_bytes(key: &StoredKey) -> Zeroizing<Vec<u8>> {
    let about = format!("{} {} {} ", key.algorithm.as_str(), key.created_at.as_unix(), key.signs_from.as_unix());
    Zeroizing::new([about.as_bytes(), key.private_key.as_slice()].concat())
}

fn from_bytes(id: String, bytes: &[u8]) -> Option<StoredKey> {
    let mut parts = bytes.splitn(4, |&byte| byte == b' ');
    let algorithm = str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let mut time = || str::from_utf8(parts.next()?).ok()?.parse().ok().map(Timestamp::from_unix);
    let (created_at, signs_from) = (time()?, time()?);
    Some(StoredKey { id, algorithm, private_key: parts.next()?.to_vec().into(), created_at, signs_from })
}

fn in_order(keys: HashMap<String, Vec<u8>>) -> Result<Vec<StoredKey>, Error> {
    let mut stored = Vec::with_capacity(keys.len());
    for (id, mut bytes) in keys {
        stored.push(from_bytes(id, &bytes).ok_or_else(|| invalid("a signing key")));
        bytes.zeroize();
    }
    let mut stored = stored.into_iter().collect::<Result<Vec<_>, _>>()?;
    stored.sort_by(|one, other| (one.signs_from, &one.id).cmp(&(other.signs_from, &other.id)));
    Ok(stored)
}
