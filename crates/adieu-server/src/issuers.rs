//! Trusted issuers other than this server: their keys, the decoders of their tokens, and the events that they may send.

use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use adieu::{
    Issuer,
    token::{Algorithm, Decoder, KeyId, KeySet, Rules, VerifyingKey},
};
use adieu_client::{KeyFollower, KeySource};
use adieu_events::{Sender, Webhook};
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::time::{Instant, sleep};

use crate::{
    aliases::AliasClaim,
    config::{EventIssuer, IssuerWebhook, Settings, TrustedIssuer, WebhookPreset},
    files, secret_file,
};

/// The algorithm assumed for a public key if the settings name none. Only RSA keys fit several.
const USUAL: [Algorithm; 4] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES384, Algorithm::RS256];

/// The timeout for the keys of one issuer: longer than that of two requests, one of them for its metadata.
const KEYS_TIMEOUT: Duration = Duration::from_secs(21);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The decoders of all trusted issuers, and the followers of the keys that some of them publish.
#[derive(Debug, Default)]
pub struct Trusted {
    issuers: Vec<Arc<Trust>>,
    event_issuers: Vec<Arc<EventKeys>>,
    senders: Vec<Sender>,
}

/// The keys and rules of an issuer of events about the tokens of others.
#[derive(Debug)]
struct EventKeys {
    settings: EventIssuer,
    clock_skew: Duration,
    decoder: Arc<Decoder>,
    follower: Arc<KeyFollower>,
}

/// One issuer.
#[derive(Debug)]
struct Trust {
    settings: TrustedIssuer,
    max_token_bytes: NonZeroUsize,
    decoder: Arc<Decoder>,
    /// Kept for as long as the decoder is used.
    follower: Option<Arc<KeyFollower>>,
}

impl Trusted {
    /// Trusts the issuers of these settings. Until the keys of an issuer that publishes them have been fetched once, its tokens can't be
    /// verified and are rejected for that reason. Keys that `known` has fetched from the same place are known from the start. Files
    /// are read again.
    ///
    /// # Errors
    /// Fails if a key can't be read or used; the error is one line that names the issuer.
    pub fn new(settings: &Settings, known: &Self) -> anyhow::Result<Self> {
        let mut this = Self::default();
        for issuer in &settings.trusted_issuer {
            let known_events = &*known.event_issuers;
            let known = known.issuers.iter().find(|known| known.settings.name == issuer.name);
            let is_same = |known: &&Arc<Trust>| {
                known.settings == *issuer
                    && known.max_token_bytes == settings.max_token_bytes
                    && known.follower.is_some()
            };
            let trust = match known.filter(is_same) {
                Some(unchanged) => Arc::clone(unchanged),
                None => Arc::new(trust(issuer, settings, known.map(|known| &**known))?),
            };
            if issuer.sends() {
                let sender = this.sender(issuer, &trust, settings, known_events);
                this.senders.push(sender.with_context(|| format!("trusted_issuer {:?}", issuer.name))?);
            }
            this.issuers.push(trust);
        }
        Ok(this)
    }

    fn sender(
        &mut self,
        issuer: &TrustedIssuer,
        trust: &Trust,
        settings: &Settings,
        known: &[Arc<EventKeys>],
    ) -> anyhow::Result<Sender> {
        let sender = Sender::new(Arc::clone(&trust.decoder)).with_logout_scope(issuer.logout_scope);
        let sender = match &issuer.event_issuer {
            Some(events) => {
                let keys = self.event_keys(events, issuer.clock_skew, settings, known).context("event_issuer")?;
                sender.with_event_issuer(Arc::clone(&keys.decoder))
            }
            None => sender,
        };
        let sender = issuer.event_audience.iter().fold(sender, Sender::with_audience);
        let sender = sender.accepting(issuer.events.iter().copied());
        Ok(match &issuer.webhook {
            Some(settings) => sender.with_webhook(&settings.name, webhook(settings).context("webhook")?),
            None => sender,
        })
    }

    /// Returns the keys of an issuer of events, which senders share, also with those from before a reload.
    fn event_keys(
        &mut self,
        issuer: &EventIssuer,
        clock_skew: Duration,
        settings: &Settings,
        known: &[Arc<EventKeys>],
    ) -> anyhow::Result<Arc<EventKeys>> {
        let is_same = |keys: &&Arc<EventKeys>| keys.settings == *issuer && keys.clock_skew == clock_skew;
        if let Some(keys) = self.event_issuers.iter().find(is_same) {
            return Ok(Arc::clone(keys));
        }
        let keys = match known.iter().find(is_same) {
            Some(keys) => Arc::clone(keys),
            None => Arc::new(EventKeys::start(issuer, clock_skew, settings)?),
        };
        self.event_issuers.push(Arc::clone(&keys));
        Ok(keys)
    }

    /// Returns a decoder for each issuer.
    pub fn decoders(&self) -> impl Iterator<Item = Arc<Decoder>> {
        self.issuers.iter().map(|trust| Arc::clone(&trust.decoder))
    }

    /// Returns the followers of the keys that issuers publish.
    #[must_use]
    pub fn key_followers(&self) -> Vec<(Issuer, Arc<KeyFollower>)> {
        let of_tokens = self.issuers.iter().filter_map(|trust| trust.key_follower());
        of_tokens.chain(self.event_issuers.iter().map(|keys| keys.key_follower())).collect()
    }

    /// Returns the followers of the keys that verify events.
    pub(crate) fn event_key_followers(&self) -> Vec<(Issuer, Arc<KeyFollower>)> {
        let signs = |trust: &&Arc<Trust>| {
            let TrustedIssuer { events, event_issuer, webhook, .. } = &trust.settings;
            !events.is_empty() && event_issuer.is_none() || webhook.is_some()
        };
        let themselves = self.issuers.iter().filter(signs).filter_map(|trust| trust.key_follower());
        themselves.chain(self.event_issuers.iter().map(|keys| keys.key_follower())).collect()
    }

    /// Returns the claims of each issuer from which aliases are recorded.
    #[must_use]
    pub fn alias_claims(&self) -> Vec<(Issuer, Vec<AliasClaim>)> {
        let claims = |trust: &Arc<Trust>| (trust.decoder.rules().issuer().clone(), trust.settings.alias_claims.clone());
        self.issuers.iter().map(claims).collect()
    }

    /// Returns the issuers that may send events.
    #[must_use]
    pub fn senders(&self) -> Vec<Sender> {
        self.senders.clone()
    }
}

impl Trust {
    fn key_follower(&self) -> Option<(Issuer, Arc<KeyFollower>)> {
        Some((self.decoder.rules().issuer().clone(), self.follower.clone()?))
    }
}

impl EventKeys {
    /// Follows the keys. The clock is that of the tokens.
    fn start(issuer: &EventIssuer, clock_skew: Duration, settings: &Settings) -> anyhow::Result<Self> {
        let name = Issuer::new(issuer.name())?;
        let source = match issuer.discovery {
            Some(_) => KeySource::discover(name.clone())?,
            None => KeySource::new(issuer.url())?,
        };
        let rules = Rules::new(name).with_leeway(settings.leeway)?.with_skew(clock_skew).context("clock_skew")?;
        let decoder = Arc::new(Decoder::new(rules, KeySet::pending()));
        let follower = Arc::new(KeyFollower::start(Arc::clone(&decoder), source)?);
        Ok(Self { settings: issuer.clone(), clock_skew, decoder, follower })
    }

    fn key_follower(&self) -> (Issuer, Arc<KeyFollower>) {
        (self.decoder.rules().issuer().clone(), Arc::clone(&self.follower))
    }
}

/// Builds the decoder for an issuer's tokens, and the key follower if the issuer publishes its keys.
fn trust(issuer: &TrustedIssuer, settings: &Settings, known: Option<&Trust>) -> anyhow::Result<Trust> {
    let place = |issuer: &TrustedIssuer| (issuer.jwks_url.clone(), issuer.discovery.clone(), issuer.algorithm);
    let known = known.filter(|known| known.follower.is_some() && place(&known.settings) == place(issuer));
    let decoder = |keys: Arc<KeySet>| {
        anyhow::Ok(Arc::new(Decoder::new(rules(issuer, settings)?, keys).with_cache(settings.token_cache())))
    };
    let source = || {
        let source = match (&issuer.jwks_url, &issuer.discovery) {
            (Some(url), _) => KeySource::new(url).with_context(|| format!("jwks_url {url:?}"))?,
            (None, Some(url)) => {
                KeySource::discover(Issuer::new(url)?).with_context(|| format!("discovery {url:?}"))?
            }
            (None, None) => return anyhow::Ok(None),
        };
        Ok(Some(match issuer.algorithm {
            Some(algorithm) => source.with_rsa_algorithm(algorithm),
            None => source,
        }))
    };
    let trust = || match source()? {
        None => anyhow::Ok((decoder(key(issuer)?.into())?, None)),
        Some(source) => {
            let decoder = decoder(known.map_or_else(|| KeySet::pending().into(), |known| known.decoder.keys()))?;
            let follower = KeyFollower::start(Arc::clone(&decoder), source)?;
            Ok((decoder, Some(Arc::new(follower))))
        }
    };
    let (decoder, follower) = trust().with_context(|| format!("trusted_issuer {:?}", issuer.name))?;
    Ok(Trust { settings: issuer.clone(), max_token_bytes: settings.max_token_bytes, decoder, follower })
}

fn webhook(settings: &IssuerWebhook) -> anyhow::Result<Webhook> {
    let mut webhook = match (&settings.secret_file, settings.preset) {
        (Some(file), None) => secret_file::read(file, Webhook::standard)?,
        (Some(file), Some(WebhookPreset::Clerk)) => secret_file::read(file, Webhook::clerk)?,
        (Some(file), Some(WebhookPreset::WorkOs)) => secret_file::read(file, Webhook::workos)?,
        (_, Some(WebhookPreset::Hanko)) => Webhook::hanko(),
        (None, _) => anyhow::bail!("there is no secret_file"),
    };
    if let Some(pointer) = &settings.event_pointer {
        webhook = webhook.with_event_pointer(pointer.clone());
    }
    if let Some(pointer) = &settings.time_pointer {
        webhook = webhook.with_time_pointer(pointer.clone());
    }
    Ok(if settings.targets.is_empty() { webhook } else { webhook.with_targets(settings.targets.clone()) })
}

fn key(issuer: &TrustedIssuer) -> anyhow::Result<KeySet> {
    let key = if let Some(file) = &issuer.secret_file {
        secret(issuer, file).with_context(|| format!("secret_file {}", file.display()))?
    } else if let Some(file) = &issuer.pem_file {
        public_key(issuer, file).with_context(|| format!("pem_file {}", file.display()))?
    } else {
        anyhow::bail!("there is no key");
    };
    let key = match &issuer.key_id {
        Some(id) => key.with_key_id(KeyId::new(id).context("key_id")?),
        None => key,
    };
    Ok(KeySet::new([key])?)
}

fn secret(issuer: &TrustedIssuer, file: &Path) -> anyhow::Result<VerifyingKey> {
    let secret = SecretSlice::from(files::read(file)?);
    let secret = secret.expose_secret();
    // The byte order mark that editors put at the beginning of a text is not part of the secret; random bytes are no text.
    let text = secret.strip_prefix("\u{feff}".as_bytes()).filter(|rest| str::from_utf8(rest).is_ok());
    let secret = text.unwrap_or(secret);
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    Ok(VerifyingKey::from_secret(issuer.algorithm.unwrap_or(Algorithm::HS256), secret)?)
}

fn public_key(issuer: &TrustedIssuer, file: &Path) -> anyhow::Result<VerifyingKey> {
    let pem = files::read_text(file)?;
    match issuer.algorithm {
        Some(algorithm) => Ok(VerifyingKey::from_pem(algorithm, &pem)?),
        None => {
            let mut fit = USUAL.into_iter().map(|algorithm| VerifyingKey::from_pem(algorithm, &pem));
            let key = fit.find(Result::is_ok).unwrap_or_else(|| VerifyingKey::from_pem(Algorithm::RS256, &pem));
            key.context("no public key of Ed25519, P-256, P-384 or RSA")
        }
    }
}

fn rules(issuer: &TrustedIssuer, settings: &Settings) -> anyhow::Result<Rules> {
    let mut rules = Rules::new(Issuer::new(&issuer.name)?)
        .with_leeway(settings.leeway)?
        .with_skew(issuer.clock_skew)
        .context("clock_skew")?
        .with_max_lifetime(issuer.max_lifetime)
        .with_max_token_bytes(settings.max_token_bytes.get());
    rules = rules.with_subject_claim(issuer.subject_claim.names());
    rules = issuer.audience.iter().fold(rules, Rules::with_audience);
    for (accepted, accept) in [
        (issuer.accept_generic_type, Rules::accept_generic_type as fn(Rules) -> Rules),
        (issuer.accept_missing_type, Rules::accept_missing_type),
        (issuer.accept_missing_issuer, Rules::accept_missing_issuer),
        (issuer.accept_missing_token_id, Rules::accept_missing_token_id),
        (issuer.accept_integer_subject, Rules::accept_integer_subject),
    ] {
        if accepted {
            rules = accept(rules);
        }
    }
    Ok(issuer.trusted_claims.iter().fold(rules, Rules::with_trusted_claim))
}

/// Waits until the keys of an issuer have been read once. The error says why they can't be read.
pub(crate) async fn first_keys(keys: &KeyFollower) -> Result<(), String> {
    let until = Instant::now() + KEYS_TIMEOUT;
    while !keys.is_ready() {
        if let Some(error) = keys.failure() {
            return Err(adieu::Chain(&error).to_string());
        }
        if Instant::now() > until {
            return Err("no answer".to_owned());
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
