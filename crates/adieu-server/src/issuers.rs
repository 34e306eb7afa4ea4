//! Trusted issuers other than this server: their keys, the decoders of their tokens, and the events that they may send.

use std::{path::Path, sync::Arc};

use adieu::{
    Issuer,
    token::{Algorithm, CacheLimits, Decoder, KeyId, KeySet, Rules, VerifyingKey},
};
use adieu_client::{KeyFollower, KeySource};
use adieu_events::{Sender, Webhook};
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::{
    aliases::AliasClaim,
    config::{EventIssuer, IssuerWebhook, Settings, TrustedIssuer, WebhookPreset},
    secret_file,
};

/// The algorithm assumed for a public key if the settings name none. Only RSA keys fit several.
const USUAL: [Algorithm; 4] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES384, Algorithm::RS256];

/// The decoders of all trusted issuers, and the followers of the keys that some of them publish.
#[derive(Debug, Default)]
pub struct Trusted {
    issuers: Vec<Arc<Trust>>,
    senders: Vec<Sender>,
}

/// One issuer.
#[derive(Debug)]
struct Trust {
    settings: TrustedIssuer,
    decoder: Arc<Decoder>,
    /// Kept for as long as the decoder is used.
    follower: Option<Arc<KeyFollower>>,
    /// The keys and rules of events that another issuer signs.
    events: Option<(Arc<Decoder>, Arc<KeyFollower>)>,
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
            let known = known.issuers.iter().find(|known| known.settings.name == issuer.name);
            let trust = match known.filter(|known| known.settings == *issuer && known.follower.is_some()) {
                Some(unchanged) => Arc::clone(unchanged),
                None => Arc::new(trust(issuer, settings, known.map(|known| &**known))?),
            };
            if issuer.sends() {
                let sender = sender(issuer, &trust);
                this.senders.push(sender.with_context(|| format!("trusted_issuer {:?}", issuer.name))?);
            }
            this.issuers.push(trust);
        }
        Ok(this)
    }

    /// Returns a decoder for each issuer.
    pub fn decoders(&self) -> impl Iterator<Item = Arc<Decoder>> {
        self.issuers.iter().map(|trust| Arc::clone(&trust.decoder))
    }

    /// Returns the followers of the keys that issuers publish.
    #[must_use]
    pub fn key_followers(&self) -> Vec<(Issuer, Arc<KeyFollower>)> {
        self.issuers.iter().flat_map(|trust| trust.of_tokens().into_iter().chain(trust.of_events())).collect()
    }

    /// Returns the followers of the keys that verify events. An issuer has several if it signs those of several.
    pub(crate) fn event_key_followers(&self) -> Vec<(Issuer, Arc<KeyFollower>)> {
        let followers = |trust: &Arc<Trust>| {
            let by_issuer = trust.events.is_none() || trust.settings.webhook.is_some();
            trust.of_events().into_iter().chain(trust.of_tokens().filter(|_| by_issuer))
        };
        self.issuers.iter().filter(|trust| trust.settings.sends()).flat_map(followers).collect()
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
    fn of_tokens(&self) -> Option<(Issuer, Arc<KeyFollower>)> {
        Some((self.decoder.rules().issuer().clone(), self.follower.clone()?))
    }

    fn of_events(&self) -> Option<(Issuer, Arc<KeyFollower>)> {
        let (decoder, follower) = self.events.as_ref()?;
        Some((decoder.rules().issuer().clone(), Arc::clone(follower)))
    }
}

/// Builds the decoder for an issuer's tokens, and the key follower if the issuer publishes its keys.
fn trust(issuer: &TrustedIssuer, settings: &Settings, known: Option<&Trust>) -> anyhow::Result<Trust> {
    let place = |issuer: &TrustedIssuer| (issuer.jwks_url.clone(), issuer.discovery.clone(), issuer.algorithm);
    let known = known.filter(|known| known.follower.is_some() && place(&known.settings) == place(issuer));
    let decoder = |keys: Arc<KeySet>| {
        anyhow::Ok(Arc::new(Decoder::new(rules(issuer, settings)?, keys).with_cache(CacheLimits::default())))
    };
    let source = || match (&issuer.jwks_url, &issuer.discovery) {
        (Some(url), _) => {
            let source = KeySource::new(url).with_context(|| format!("jwks_url {url:?}"))?;
            anyhow::Ok(Some(source.with_rsa_algorithm(issuer.algorithm.unwrap_or(Algorithm::RS256))))
        }
        (None, Some(url)) => {
            let source = KeySource::discover(Issuer::new(url)?).with_context(|| format!("discovery {url:?}"))?;
            Ok(Some(match issuer.algorithm {
                Some(algorithm) => source.with_rsa_algorithm(algorithm),
                None => source,
            }))
        }
        (None, None) => Ok(None),
    };
    let trust = || match source()? {
        None => anyhow::Ok((decoder(key(issuer)?.into())?, None)),
        Some(source) => {
            let decoder = decoder(known.map_or_else(|| KeySet::pending().into(), |known| known.decoder.keys()))?;
            let follower = KeyFollower::start(Arc::clone(&decoder), source)?;
            Ok((decoder, Some(Arc::new(follower))))
        }
    };
    let name = || format!("trusted_issuer {:?}", issuer.name);
    let (decoder, follower) = trust().with_context(name)?;
    let events = issuer.event_issuer.as_ref().map(|settings| event_issuer(settings, decoder.rules()));
    let events = events.transpose().context("event_issuer").with_context(name)?;
    Ok(Trust { settings: issuer.clone(), decoder, follower, events })
}

/// Builds the decoder for events that another issuer signs than the tokens, and follows its keys. Their clocks are the same.
fn event_issuer(settings: &EventIssuer, of_tokens: &Rules) -> anyhow::Result<(Arc<Decoder>, Arc<KeyFollower>)> {
    let name = Issuer::new(settings.name())?;
    let source = match settings.discovery {
        Some(_) => KeySource::discover(name.clone())?,
        None => KeySource::new(settings.url())?,
    };
    let rules = Rules::new(name).with_leeway(of_tokens.leeway())?.with_skew(of_tokens.skew())?;
    let decoder = Arc::new(Decoder::new(rules, KeySet::pending()));
    let follower = KeyFollower::start(Arc::clone(&decoder), source)?;
    Ok((decoder, Arc::new(follower)))
}

fn sender(issuer: &TrustedIssuer, trust: &Trust) -> anyhow::Result<Sender> {
    let sender = Sender::new(Arc::clone(&trust.decoder)).with_logout_scope(issuer.logout_scope);
    let sender = match &trust.events {
        Some((decoder, _)) => sender.with_event_issuer(Arc::clone(decoder)),
        None => sender,
    };
    let sender = issuer.event_audience.iter().fold(sender, Sender::with_audience);
    let sender = sender.accepting(issuer.events.iter().copied());
    Ok(match &issuer.webhook {
        Some(settings) => sender.with_webhook(&settings.name, webhook(settings).context("webhook")?),
        None => sender,
    })
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
    let secret = SecretSlice::from(std::fs::read(file)?);
    let secret = secret.expose_secret();
    // The byte order mark that editors put at the beginning of a text is not part of the secret; random bytes are no text.
    let text = secret.strip_prefix("\u{feff}".as_bytes()).filter(|rest| str::from_utf8(rest).is_ok());
    let secret = text.unwrap_or(secret);
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    Ok(VerifyingKey::from_secret(issuer.algorithm.unwrap_or(Algorithm::HS256), secret)?)
}

fn public_key(issuer: &TrustedIssuer, file: &Path) -> anyhow::Result<VerifyingKey> {
    let pem = std::fs::read_to_string(file)?;
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
