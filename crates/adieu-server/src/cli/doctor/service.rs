//! Checks of what the server works with: its store, its certificate, proxies, other issuers, and the receivers of webhooks.

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer,
    restore::LogState,
    revocation::Position,
    time::{Clock as _, SystemClock},
    token::{Decoder, KeySet, Rules},
};
use adieu_client::{KeyFollower, KeySource};

use super::Check;
use crate::{
    cli::{
        on_store::{exists, is_older},
        output::{counted, written},
    },
    config::{ListenAddress, Settings, TrustedProxy, redacted},
    deliveries::Receiver,
    exposure::exposed_on_the_network,
    high_water,
    issuers::{Trusted, first_keys},
    listen::certificate_valid_until,
    relay,
    store::{self, Stores, check::check_quickly},
};

/// How long before its end a certificate should have been renewed.
const RENEWAL: Duration = Duration::from_secs(14 * 86_400);

/// Checks that the store can be opened, has the tables of this version, is not damaged, and did not go back. Returns the state
/// of its log.
pub(super) async fn store(settings: &Settings, mut check: Check<'_>) -> Option<LogState> {
    let address = store::address(settings);
    let examine = async {
        store::reach_revocations(settings).await?;
        if !exists(settings).await? {
            check.warn(format!("there is none yet in {address}; `adieu serve` creates it"));
            return anyhow::Ok(None);
        }
        let Some(stores) = Stores::open_unchanged(settings).await? else {
            check.warn(is_older(settings));
            return Ok(None);
        };
        let found = check_quickly(&stores, &high_water::file(settings)).await?;
        let log = match stores.core().restorable() {
            Some(restorable) => Some(restorable.inspect(Position::START).await?),
            None => None,
        };
        for violation in &found.violations {
            check.fail(format!("{violation}; run `adieu store check`"));
        }
        let restored = log.as_ref().and_then(|log| log.restored_at);
        if let Some(at) = restored {
            check.warn(format!(
                "a restored backup was detected at {}; find out why, and run `adieu log accept-restore`",
                written(at)
            ));
        }
        if found.violations.is_empty() && restored.is_none() {
            check.ok(format!("{address} is of this version and not damaged"));
        }
        Ok(log)
    };
    let outcome = examine.await;
    outcome.unwrap_or_else(|error| {
        check.fail(format!(
            "{}; check that the server's user can reach and read the store",
            redacted(&format!("{error:#}"))
        ));
        None
    })
}

pub(super) fn network(settings: &Settings, mut check: Check<'_>) {
    check.warn_of_all(exposed_on_the_network(settings), "what goes to other machines is encrypted");
}

/// Checks that each certificate and its key can be used, and for how long.
pub(super) fn certificate(settings: &Settings, mut check: Check<'_>) {
    let until = certificate_valid_until(settings);
    let of_relay = relay::transport(settings).and_then(|_| relay::certificate_valid_until(settings));
    if matches!((&until, &of_relay), (Ok(None), Ok(None))) {
        return check.ok("not used");
    }
    for (name, until) in [("the certificate", until), ("the certificate for the node", of_relay)] {
        let until = match until {
            Ok(None) => continue,
            Ok(Some(until)) => until,
            Err(error) => {
                check.fail(format!("{error:#}; correct the file or the setting"));
                continue;
            }
        };
        let (now, shown) = (SystemClock.now(), written(until));
        match () {
            () if until <= now => check.fail(format!("{name} expired at {shown}; renew it")),
            () if until <= now.plus(RENEWAL) => check.warn(format!("{name} expires at {shown}; renew it")),
            () => check.ok(format!("the key is that of {name}, which expires at {shown}")),
        }
    }
}

/// Compares the proxies that are trusted with the addresses that are listened on.
pub(super) fn proxies(settings: &Settings, mut check: Check<'_>) {
    let is_unix = |address: &ListenAddress| matches!(address, ListenAddress::Unix(_));
    let mut problems = Vec::new();
    for proxy in &settings.trusted_proxies {
        match proxy {
            TrustedProxy::UnixSocket if !settings.listen.iter().any(is_unix) => problems.push(
                "trusted_proxies has \"unix:\", and listen has no Unix socket; add one to listen, or remove it"
                    .to_owned(),
            ),
            TrustedProxy::Network(network) if network.prefix_len() == 0 => problems.push(format!(
                "trusted_proxies has {network}, so every client can choose its address and evade the limits; name the \
                 networks of the proxies"
            )),
            TrustedProxy::Network(network)
                if !network.network().is_loopback() && settings.listen.iter().all(ListenAddress::is_local) =>
            {
                problems.push(format!(
                    "trusted_proxies has {network}, and listen has no address that other machines reach; add one, or \
                     trust 127.0.0.1/32"
                ));
            }
            _ => {}
        }
    }
    let number = settings.trusted_proxies.len();
    check.warn_of_all(problems, &format!("{number} trusted, all of which can reach an address of listen"));
}

/// Checks the keys of other issuers: that files can be used, and that URLs answer with keys.
pub(super) async fn issuers(settings: &Settings, mut check: Check<'_>) {
    let trusted = match Trusted::new(settings, &Trusted::default()) {
        Ok(trusted) => trusted,
        Err(error) => return check.fail(format!("{error:#}; correct the setting or the file")),
    };
    let name = |issuer: Issuer| format!("the issuer {issuer}");
    let mut followed: Vec<(String, Arc<KeyFollower>)> =
        trusted.key_followers().into_iter().map(|(issuer, keys)| (name(issuer), keys)).collect();
    match follow_node(settings) {
        Ok(node) => followed.extend(node),
        Err(error) => return check.fail(format!("{error:#}; correct the settings of the relay")),
    }
    let number = settings.trusted_issuer.len() + usize::from(settings.follow.is_some());
    let mut has_failed = false;
    for (name, keys) in followed {
        if let Err(why) = first_keys(&keys).await {
            has_failed = true;
            check.fail(format!(
                "no keys of {name}: {}; until there are some, its tokens are rejected; check the URL and the network",
                redacted(&why)
            ));
        }
    }
    if !has_failed {
        check.ok(format!("{number} besides this server, and their keys can be read"));
    }
}

/// Checks the URLs, the types and the secrets of webhooks. Sends nothing.
pub(super) fn webhooks(settings: &Settings, mut check: Check<'_>) {
    match Receiver::of(settings) {
        Ok(receivers) => check.ok(format!("{}, whose secrets can be used", counted(receivers.len(), "receiver"))),
        Err(error) => check.fail(format!("{error:#}; correct the setting or the file")),
    }
}

/// Starts to follow the keys of the node that a relay follows. Unlike its log, they need no registration there.
fn follow_node(settings: &Settings) -> anyhow::Result<Option<(String, Arc<KeyFollower>)>> {
    let Some(url) = relay::followed(settings)? else { return Ok(None) };
    let transport = Arc::new(relay::transport(settings)?);
    let keys = relay::service_of(settings, url, transport.clone())?.remote()?.keys_url()?;
    let decoder = Decoder::new(Rules::new(settings.issuer.parse()?), KeySet::pending());
    let source = KeySource::new(&keys)?.with_transport(transport);
    let follower = KeyFollower::start(decoder.into(), source)?;
    Ok(Some((redacted(&format!("the node {url}")), Arc::new(follower))))
}
