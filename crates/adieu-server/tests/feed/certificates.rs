//! Services and relays present a certificate to a node that requires one.

use std::{fs, sync::Arc};

use adieu::{Error, Issuer};
use adieu_client::{Service, ServiceBuilder, transport::Http};
use test_servers::{
    Validity,
    adieu::{Adieu, Credentials},
    make_authority, make_client_certificate,
};

use crate::adieu;

/// A node that requires certificates of an authority, which has issued `shop`, and `old`, which has expired.
async fn certified() -> (Adieu, Credentials) {
    let node = adieu().with_tls().with("ADIEU_TLS_CLIENT_CA", "clients.pem");
    make_authority(node.folder(), "clients");
    make_client_certificate(node.folder(), "clients", "shop", Validity::Current);
    make_client_certificate(node.folder(), "clients", "old", Validity::Expired);
    let (node, [client]) = node.start_with_clients(["shop"]).await;
    (node, client)
}

fn service(node: &Adieu, client: &Credentials, certificate: Option<&str>) -> ServiceBuilder {
    let file = |name: &str| node.folder().join(name);
    let identity = certificate.map(|name| vec![file(&format!("{name}.pem")), file(&format!("{name}-key.pem"))]);
    let http = Http::with_certificate_files(Some(file("certificate.pem")), identity.unwrap_or_default()).unwrap();
    let secret = client.secret.as_str().into();
    Service::builder(Issuer::new("adieu").unwrap(), node.url(""), &client.name, secret).with_transport(Arc::new(http))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_follows_with_a_certificate_and_not_without() {
    let (node, client) = certified().await;
    let service_with = service(&node, &client, Some("shop")).start().unwrap();
    service_with.ready().await.unwrap();
    node.register("jose").await;
    let token = node.log_in("jose").await;
    let claims = service_with.verifier().verify(&token).unwrap();
    service_with.log_out(&claims).await.unwrap();
    assert_eq!(node.verify(&token).await.0, 401);

    let error = service(&node, &client, None).start().unwrap().ready().await.unwrap_err();
    let Error::Unauthorized(message) = error else { panic!("{error:?}") };
    assert!(message.ends_with("`shop` do this: A client certificate is required."), "{message}");

    let expired = service(&node, &client, Some("old")).start().unwrap();
    let error = expired.log().revoke_token(&token).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(!expired.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_follows_as_soon_as_its_certificate_is_renewed() {
    let (node, client) = certified().await;
    let relay = adieu().following(&node.url(""), &client).with("ADIEU_LOG_LEVEL", "info");
    for name in ["certificate.pem", "old.pem", "old-key.pem"] {
        fs::copy(node.folder().join(name), relay.folder().join(name)).unwrap();
    }
    let relay = relay.with("ADIEU_FOLLOW_CA", "certificate.pem");
    let mut relay = relay.with("ADIEU_FOLLOW_CERTIFICATE", "old.pem").with("ADIEU_FOLLOW_KEY", "old-key.pem");
    relay.spawn();
    relay.becomes("alive", async || relay.request(reqwest::Method::GET, "/livez").send().await.is_ok()).await;
    node.register("jose").await;
    let token = node.log_in("jose").await;
    assert_eq!(relay.verify(&token).await.0, 503);
    // The key alone is that of no certificate: nothing changes.
    for (name, old) in [("shop-key.pem", "old-key.pem"), ("shop.pem", "old.pem")] {
        assert_eq!(relay.get("/readyz", None).await, 503);
        fs::copy(node.folder().join(name), relay.folder().join(old)).unwrap();
    }
    relay.ready().await;
    assert_eq!(relay.verify(&token).await.0, 204);
    assert!(relay.log().contains("using the certificate of this client that was renewed"), "{}", relay.log());
    node.log_out_everywhere(&token).await;
    assert_eq!(relay.verify(&token).await.0, 401);
}

#[tokio::test]
async fn a_relay_does_not_start_with_files_that_cannot_be_used() {
    let (node, client) = certified().await;
    for (settings, expected) in [
        (&[("CERTIFICATE", "shop.pem")][..], "follow_certificate is set, so follow_key is needed too"),
        (&[("KEY", "shop-key.pem")], "follow_key is set, so follow_certificate is needed too"),
        (&[("CA", "nothing.pem")], "nothing.pem"),
        (&[("CA", "shop-key.pem")], "there is no certificate"),
        (&[("CERTIFICATE", "shop.pem"), ("KEY", "old-key.pem")], "follow_certificate and follow_key cannot be used"),
    ] {
        let mut relay = adieu().following(&node.url(""), &client);
        for name in ["shop.pem", "shop-key.pem", "old-key.pem"] {
            fs::copy(node.folder().join(name), relay.folder().join(name)).unwrap();
        }
        for (name, value) in settings {
            relay = relay.with(&format!("ADIEU_FOLLOW_{name}"), *value);
        }
        relay.spawn();
        assert!(relay.ready_or_ended().await.is_err(), "{settings:?}");
        assert!(relay.log().contains(expected), "{settings:?}: {}", relay.log());
    }
}
