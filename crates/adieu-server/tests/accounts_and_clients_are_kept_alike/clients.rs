//! Clients.

use std::time::Duration;

use adieu::time::Timestamp;
use adieu_server::{
    clients::{BackchannelLogout, Capability, Client, ClientName, ClientStore, Limits},
    config::Rate,
};

use crate::Place;

every_engine! {
    clients_come_and_go
}

pub(crate) fn client(name: &str, can: &[Capability]) -> Client {
    Client::new(ClientName::new(name).unwrap(), can, Timestamp::from_unix(1_800_000_000)).unwrap().0
}

async fn clients_come_and_go<P: Place>() {
    let place = P::empty().await;
    let store = place.open().await;
    assert_eq!(store.clients().await.unwrap(), []);
    let to = |uri: &str, allow_private| Some(BackchannelLogout { uri: uri.to_owned(), allow_private });
    let shop =
        Client { backchannel_logout: to("https://shop.example/é'?a=\"", false), ..client("shop", &Capability::ALL) };
    let cart = Client { backchannel_logout: to("http://10.0.0.1/", true), ..client("Cart.1", &[Capability::Follow]) };
    let quota = Rate { burst: 500, per: Duration::from_secs(90) };
    let limits = Limits { quota: Some(quota), horizon: Some(Duration::from_secs(86_401)) };
    let nothing = Client { limits, ..client("_nothing", &[]) };
    for client in [&shop, &cart, &nothing] {
        assert!(store.add_client(client.clone()).await.unwrap());
    }
    assert!(!store.add_client(client("shop", &[])).await.unwrap(), "the name is taken");
    assert_eq!(store.clients().await.unwrap(), [cart.clone(), nothing, shop.clone()], "by name");
    for limits in [limits, Limits { quota: None, ..limits }, Limits { horizon: None, ..limits }, Limits::default()] {
        let can = [Capability::Revoke, Capability::Introspect];
        assert!(store.change_client(&cart.name, Some(&can), limits).await.unwrap());
        let kept = store.clients().await.unwrap();
        assert_eq!(kept[0], Client { limits, can: can.to_vec(), ..cart.clone() });
        assert_eq!(kept[2], shop, "the other client is unchanged");
    }
    let (other, secret) = (ClientName::new("other").unwrap(), client("x", &[]).secret);
    assert!(!store.change_client(&other, None, limits).await.unwrap());
    assert!(store.change_client(&cart.name, Some(&cart.can), limits).await.unwrap());
    assert!(store.change_client(&cart.name, None, cart.limits).await.unwrap(), "which keeps its capabilities");
    assert!(store.set_client_secret(&cart.name, secret.clone()).await.unwrap());
    let kept = store.clients().await.unwrap();
    assert_eq!(
        (&kept[0], &kept[2]),
        (&Client { secret: secret.clone(), ..cart.clone() }, &shop),
        "only its secret changed"
    );
    assert!(!store.set_client_secret(&other, secret).await.unwrap());
    assert!(store.remove_client(&cart.name).await.unwrap());
    assert!(!store.remove_client(&cart.name).await.unwrap());
    assert_eq!(store.clients().await.unwrap().len(), 2);
}
