//! Checks that a server keeps the writes that it has answered.

use std::collections::HashMap;

use redis::{RedisError, aio::MultiplexedConnection};

use adieu::Error;

/// A setting that durability depends on.
struct Requirement {
    setting: &'static str,
    is_good: fn(&str) -> bool,
    good: &'static str,
    /// The consequence of another value.
    otherwise: &'static str,
}

const REQUIREMENTS: [Requirement; 4] = [
    Requirement {
        setting: "appendonly",
        is_good: |value| value == "yes",
        good: "yes",
        otherwise: "it keeps nothing, or a copy from time to time",
    },
    Requirement {
        setting: "appendfsync",
        is_good: |value| value == "always",
        good: "always",
        otherwise: "what was answered in the last second or more is lost with the power",
    },
    Requirement {
        setting: "no-appendfsync-on-rewrite",
        is_good: |value| value == "no",
        good: "no",
        otherwise: "nothing is synced while it rewrites its file",
    },
    Requirement {
        setting: "maxmemory-policy",
        is_good: keeps_keys_without_expiry,
        good: "noeviction",
        otherwise: "it throws revocations away when its memory is full",
    },
];

/// The oldest version that has all commands in use.
const OLDEST: (u32, u32) = (6, 2);

/// Returns whether keys without expiry are never evicted, as with `volatile-*`: no key of the store expires.
fn keeps_keys_without_expiry(value: &str) -> bool {
    value == "noeviction" || value.starts_with("volatile-")
}

/// Rejects a server that is too old or a replica; also one that could lose answered writes, unless `allow_weaker` is
/// set.
pub(super) async fn inspect(connection: &mut MultiplexedConnection, allow_weaker: bool) -> Result<(), Error> {
    let server: String = redis::cmd("INFO").arg("server").query_async(connection).await.map_err(Error::unavailable)?;
    let replication: String =
        redis::cmd("INFO").arg("replication").query_async(connection).await.map_err(Error::unavailable)?;
    if let Some(version) = field(&server, "redis_version")
        && is_too_old(version)
    {
        return Err(Error::UnsuitableServer(format!(
            "Redis {version} is too old: Redis 6.2, or any Valkey, is the oldest"
        )));
    }
    incarnation(&server, &replication)?;
    for Requirement { setting, is_good, good, otherwise } in REQUIREMENTS {
        let answer = redis::cmd("CONFIG").arg("GET").arg(setting).query_async(connection).await;
        let value = match answer {
            Ok(values) => HashMap::<String, String>::into_iter(values).next().map(|(_, value)| value),
            Err(error) if was_refused(&error) => None,
            Err(error) => return Err(Error::unavailable(error)),
        };
        if value.as_deref().is_some_and(is_good) {
            continue;
        }
        let found = match &value {
            Some(value) => format!("is {value}"),
            None => "is not known, since the server does not show it".to_owned(),
        };
        let sentence = format!("`{setting}` of the Redis server {found}, and must be {good}: {otherwise}");
        if !allow_weaker {
            return Err(Error::UnsuitableServer(format!("{sentence}; allow_weaker_durability accepts that")));
        }
        tracing::warn!("{sentence}; accepted by allow_weaker_durability");
    }
    Ok(())
}

/// Returns the identity of the server's run and history. It changes with a restart, a failover, or a takeover of
/// another server's data. Rejects a replica, whose answers may be outdated.
pub(super) fn incarnation(server: &str, replication: &str) -> Result<String, Error> {
    match field(replication, "role") {
        Some("master") => {}
        _ => return Err(Error::unavailable("the Redis server is a replica, and only a primary can be used")),
    }
    let short = |text, name| {
        field(text, name)
            .and_then(|id| id.get(..12))
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .ok_or_else(|| Error::unavailable(format!("the Redis server does not tell its {name}")))
    };
    Ok(format!("{}-{}", short(server, "run_id")?, short(replication, "master_replid")?))
}

/// Returns the value of a line of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < OLDEST,
        _ => false,
    }
}

/// Returns whether the server itself rejected the command, rather than the connection failing.
fn was_refused(error: &RedisError) -> bool {
    error.code().is_some() && !error.is_io_error()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, too_old) in
            [("6.0.16", true), ("5.0", true), ("6.2.0", false), ("7.0.15", false), ("10.1", false)]
        {
            assert_eq!(is_too_old(version), too_old, "{version}");
        }
    }

    #[test]
    fn a_server_that_is_another_has_another_incarnation() {
        let server = |id: char| format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{}\r\n", id.to_string().repeat(40));
        let replication =
            |role: &str, id: char| format!("role:{role}\r\nmaster_replid:{}\r\n", id.to_string().repeat(40));
        let master = |id| replication("master", id);
        let first = incarnation(&server('a'), &master('b')).unwrap();
        assert_eq!(first, incarnation(&server('a'), &master('b')).unwrap());
        assert_ne!(first, incarnation(&server('c'), &master('b')).unwrap());
        assert_ne!(first, incarnation(&server('a'), &master('c')).unwrap());
        assert!(incarnation(&server('a'), &replication("slave", 'b')).is_err());
        assert!(incarnation("", &master('b')).is_err());
    }

    #[test]
    fn only_what_evicts_keys_without_expiry_is_refused() {
        for (policy, good) in [("noeviction", true), ("volatile-lru", true), ("allkeys-lru", false), ("", false)] {
            assert_eq!(keeps_keys_without_expiry(policy), good, "{policy}");
        }
    }
}
