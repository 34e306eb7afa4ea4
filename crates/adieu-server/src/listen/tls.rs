//! TLS on the TCP listeners, with a certificate and a key from files.
//!
//! 1. TLS 1.3 and 1.2 with the safe defaults of rustls; HTTP/1.1.
//! 2. The files are read again every [`RENEWAL`], so that a renewed certificate needs no restart. Files that cannot be used, or that do not
//!    belong together, as between the writes of two files, change nothing; the log says so once.
//! 3. With the authorities of clients (`tls_client_ca`), a client may present a certificate, which must be from one of them: see
//!    [`LacksCertificate`].
//! 4. A handshake that takes longer than [`Bounds::header_timeout`](super::Bounds::header_timeout) ends the connection.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use adieu::time::Timestamp;
use anyhow::{Context as _, bail, ensure};
use arc_swap::ArcSwap;
use tokio::{
    net::TcpStream,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};
use tokio_rustls::{
    Accept, TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{NoServerSessionStorage, WebPkiClientVerifier},
    },
    server::TlsStream,
};

use super::certificate;
use crate::{config::Settings, files};

/// How often the files are read again.
const RENEWAL: Duration = Duration::from_secs(10);

/// An extension of each request on a connection whose client was asked for a certificate and has presented none.
#[derive(Debug, Clone, Copy)]
pub struct LacksCertificate;

impl LacksCertificate {
    /// Returns whether a connection lacks a certificate after its handshake; `is_asked` is [`Tls::asks`].
    pub(super) fn of(stream: &TlsStream<TcpStream>, is_asked: bool) -> Option<Self> {
        (is_asked && stream.get_ref().1.peer_certificates().is_none()).then_some(Self)
    }
}

/// The certificate in use. Clones share it.
#[derive(Debug, Clone)]
pub struct Tls {
    in_use: Arc<ArcSwap<Certificate>>,
    _renewal: Arc<Renewal>,
}

/// A certificate that can be used, and where it comes from.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    contents: Contents,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads the files of the settings; `None` if they name none.
    ///
    /// # Errors
    /// Fails if a file is named without those that it needs, or if the files cannot be used.
    pub fn read(settings: &Settings) -> anyhow::Result<Option<Self>> {
        Files::of(settings)?.map(Self::read_files).transpose()
    }

    fn read_files(files: Files) -> anyhow::Result<Self> {
        let contents = files.read()?;
        Ok(Self { config: Arc::new(contents.config()?), files, contents })
    }
}

/// The task that reads the files again. It ends when this is dropped.
#[derive(Debug)]
struct Renewal(AbortHandle);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tls {
    /// Reads the files of the settings; `None` if they name none.
    ///
    /// # Errors
    /// Fails if a file is named without those that it needs, or if the files cannot be used.
    pub(super) async fn new(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Some(first) = Certificate::read(settings)? else { return Ok(None) };
        let in_use = Arc::new(ArcSwap::from_pointee(first));
        let renewal = tokio::spawn(renew(Arc::clone(&in_use))).abort_handle();
        Ok(Some(Self { in_use, _renewal: Arc::new(Renewal(renewal)) }))
    }

    /// Returns until when the certificate in use is valid, with all that are sent beside it.
    pub(crate) fn valid_until(&self) -> Option<Timestamp> {
        self.in_use.load().contents.valid_until().ok()
    }

    /// Uses this certificate for the handshakes that begin from now on, and looks for its successors in its files.
    pub(crate) fn replace(&self, certificate: Certificate) {
        self.in_use.store(Arc::new(certificate));
    }

    /// Returns whether clients are asked for a certificate.
    pub(super) fn asks(&self) -> bool {
        self.in_use.load().files.client_ca.is_some()
    }

    /// Begins a handshake with the certificate that is in use now.
    pub(super) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(Arc::clone(&self.in_use.load().config)).accept(stream)
    }
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Contents {
    /// Omits the key, which is secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// Returns until when the certificate of the settings is valid, after loading it with its key; `None` if there is none.
///
/// # Errors
/// Fails if a file is named without those that it needs, or if the files cannot be used.
pub fn certificate_valid_until(settings: &Settings) -> anyhow::Result<Option<Timestamp>> {
    Certificate::read(settings)?.map(|certificate| certificate.contents.valid_until()).transpose()
}

impl Files {
    fn of(settings: &Settings) -> anyhow::Result<Option<Self>> {
        match (settings.tls_certificate.clone(), settings.tls_key.clone()) {
            (None, None) if settings.tls_client_ca.is_some() => {
                bail!("tls_client_ca is set, so tls_certificate is needed too")
            }
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { certificate, key, client_ca: settings.tls_client_ca.clone() }))
            }
            (Some(_), None) => bail!("tls_certificate is set, so tls_key is needed too"),
            (None, Some(_)) => bail!("tls_key is set, so tls_certificate is needed too"),
        }
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let read = |setting: &str, file: &Path| {
            files::read(file).with_context(|| format!("cannot read {} ({setting})", file.display()))
        };
        Ok(Contents {
            certificate: read("tls_certificate", &self.certificate)?,
            key: read("tls_key", &self.key)?,
            client_ca: self.client_ca.as_ref().map(|file| read("tls_client_ca", file)).transpose()?,
        })
    }
}

impl Contents {
    fn certificates(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        certificates("tls_certificate", &self.certificate)
    }

    fn valid_until(&self) -> anyhow::Result<Timestamp> {
        chain_valid_until("tls_certificate", &self.certificate)
    }

    fn config(&self) -> anyhow::Result<ServerConfig> {
        let certificates = self.certificates()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).context("tls_key is not a private key in PEM")?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = match &self.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(pem) => {
                let mut authorities = RootCertStore::empty();
                for authority in self::certificates("tls_client_ca", pem)? {
                    authorities.add(authority).context("tls_client_ca has a certificate that cannot be used")?;
                }
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
                    .allow_unauthenticated()
                    .build()
                    .context("tls_client_ca cannot be used")?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(certificates, key)
            .context("tls_certificate and tls_key cannot be used together")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // A connection that is resumed has the certificate of the first one, which may have expired since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(config)
    }
}

/// Returns until when the chain in the file of this setting is valid: the peer rejects it when one of its certificates has expired.
///
/// # Errors
/// Fails if it is not in PEM, or does not say until when it is valid.
pub(crate) fn chain_valid_until(setting: &str, pem: &[u8]) -> anyhow::Result<Timestamp> {
    let ends = certificates(setting, pem)?.iter().map(|certificate| certificate::valid_until(certificate)).collect();
    let ends: Option<Vec<Timestamp>> = ends;
    ends.and_then(|ends| ends.into_iter().min())
        .with_context(|| format!("{setting} does not say until when it is valid"))
}

/// Reads the certificates in the file of this setting.
fn certificates(setting: &str, pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.with_context(|| format!("{setting} is not a certificate in PEM"))?;
    ensure!(!certificates.is_empty(), "{setting} is not a certificate in PEM");
    Ok(certificates)
}

/// Reads the files again and again, and uses a new certificate.
async fn renew(in_use: Arc<ArcSwap<Certificate>>) {
    let mut has_failed = false;
    loop {
        sleep(RENEWAL).await;
        let known = in_use.load_full();
        let before = Arc::clone(&known);
        let look = move || {
            let has_changed = before.files.read()? != before.contents;
            anyhow::Ok(if has_changed { Some(Certificate::read_files(before.files.clone())?) } else { None })
        };
        match spawn_blocking(look).await.map_err(anyhow::Error::from).flatten() {
            Ok(changed) => {
                if let Some(certificate) = changed {
                    // Unless a reload was faster, whose files may be others.
                    let replaced = in_use.compare_and_swap(&known, Arc::new(certificate));
                    if Arc::ptr_eq(&replaced, &known) {
                        tracing::info!("using the certificate that was renewed");
                    }
                }
                has_failed = false;
            }
            Err(error) if !has_failed => {
                tracing::error!("the certificate could not be renewed, and the old one stays in use: {error:#}");
                has_failed = true;
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use test_servers::make_certificate;

    use super::*;
    use crate::config::Flags;

    async fn after_a_renewal() {
        // Time passes by itself as long as no thread reads files.
        sleep(RENEWAL * 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_as_soon_as_its_key_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        make_certificate(folder.path(), "127.0.0.1");
        let names = ["certificate", "key"]
            .map(|name| (format!("ADIEU_TLS_{}", name.to_uppercase()), file(&format!("{name}.pem"))));
        let environment = names.map(|(name, path)| (name.into(), path.into_os_string()));
        let settings = Settings::load(&Flags::default(), environment).unwrap();
        let tls = Tls::new(&settings).await.unwrap().unwrap();
        let first = tls.in_use.load_full();
        after_a_renewal().await;
        assert!(Arc::ptr_eq(&first, &tls.in_use.load_full()), "nothing has changed");

        let renewed = tempfile::tempdir().unwrap();
        make_certificate(renewed.path(), "127.0.0.1");
        let (certificate, key) = (renewed.path().join("certificate.pem"), renewed.path().join("key.pem"));
        fs::copy(&certificate, file("certificate.pem")).unwrap();
        after_a_renewal().await;
        assert!(Arc::ptr_eq(&first, &tls.in_use.load_full()), "the key is that of the other certificate");
        fs::remove_file(file("key.pem")).unwrap();
        after_a_renewal().await;
        assert!(Arc::ptr_eq(&first, &tls.in_use.load_full()), "there is no key");
        fs::copy(&key, file("key.pem")).unwrap();
        after_a_renewal().await;
        assert!(!Arc::ptr_eq(&first, &tls.in_use.load_full()));
    }
}
