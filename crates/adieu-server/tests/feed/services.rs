//! A service in this process that follows a node in another process, over a network that fails.

use std::time::{Duration, Instant};

use adieu::{
    Error, Issuer, TokenId,
    revocation::{Revocation, RevocationHasher, RevocationLog as _, RevokedBy, Target, TokenFacts},
    time::{Clock as _, SystemClock, Timestamp},
    token::TokenError,
};
use adieu_client::{Service, ServiceBuilder, wire};
use test_servers::{
    TEST_TIMEOUT,
    adieu::{Adieu, Credentials},
    until,
};

use crate::{adieu, proxy::Proxy};

const BOUND: Duration = Duration::from_secs(2);

struct World {
    node: Adieu,
    proxy: Proxy,
    client: Credentials,
}

impl World {
    async fn start() -> Self {
        let (node, [client]) = adieu().start_with_clients(["orders"]).await;
        node.register("jose").await;
        let proxy = Proxy::start(node.address()).await;
        Self { node, proxy, client }
    }

    fn service(&self) -> ServiceBuilder {
        let issuer = Issuer::new("adieu").unwrap();
        Service::builder(issuer, self.proxy.url(), &self.client.name, self.client.secret.as_str().into())
    }

    async fn ready_service(&self) -> Service {
        let service = self.service().start().unwrap();
        service.ready().await.unwrap();
        service
    }

    /// Logs out, and returns when the response arrived.
    async fn log_out(&self, token: &str) -> Instant {
        assert_eq!(self.node.ask(reqwest::Method::POST, "/logout", Some(token), None).await.0, 200);
        Instant::now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_taken_as_a_file_has_it() {
    let world = World::start().await;
    let secret = &world.client.secret;
    for as_in_a_file in [format!("{secret}\n"), format!("\u{feff}{secret}\r\n")] {
        let issuer = Issuer::new("adieu").unwrap();
        let service = Service::builder(issuer, world.proxy.url(), &world.client.name, as_in_a_file.into());
        service.start().unwrap().ready().await.unwrap();
    }
}

fn refusal(service: &Service, token: &str) -> Option<TokenError> {
    service.verifier().verify(token).err()
}

/// Verifies until the service rejects the token as revoked. Returns the verdicts in between; those that accepted it were in time.
async fn until_revoked(service: &Service, token: &str, answered_at: Instant) -> Vec<Option<TokenError>> {
    let mut said = Vec::new();
    loop {
        let asked_at = Instant::now();
        match refusal(service, token) {
            Some(TokenError::Revoked(_)) => return said,
            None => assert!(asked_at <= answered_at + BOUND, "accepted {:?} after the logout", answered_at.elapsed()),
            other if said.last() != Some(&other) => said.push(other),
            Some(_) => {}
        }
        assert!(answered_at.elapsed() < TEST_TIMEOUT, "the revocation did not arrive");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn accepts(service: &Service, token: &str) {
    until("the service accepts the token", async || refusal(service, token).is_none()).await;
}

#[tokio::test]
async fn a_service_that_is_cut_off_refuses_in_time() {
    let world = World::start().await;
    let service = world.ready_service().await;
    let (token, other) = (world.node.log_in("jose").await, world.node.log_in("jose").await);
    accepts(&service, &token).await;

    world.proxy.cut();
    let answered_at = world.log_out(&token).await;
    let started = Instant::now();
    while refusal(&service, &token) != Some(TokenError::Stale) {
        assert!(started.elapsed() <= 10 * BOUND, "the service is cut off and does not notice");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!service.is_ready());

    world.proxy.heal();
    assert_eq!(until_revoked(&service, &token, answered_at).await, [Some(TokenError::Stale)]);
    accepts(&service, &other).await;
    assert!(service.is_ready());
}

fn is_revoked(service: &Service, id: &str, expires_at: Timestamp) -> bool {
    let facts = TokenFacts {
        issuer: "adieu",
        token_id: id,
        session: None,
        subject: "x",
        issued_at: Some(expires_at),
        expires_at,
        key_id: None,
        claims: None,
    };
    service.verifier().index().check(&facts) == Some(RevokedBy::Token)
}

/// Reads the first page of the feed with these headers; returns its media type and its bytes.
async fn first_page(world: &World, headers: &[(&str, &str)]) -> (String, Vec<u8>) {
    let client = reqwest::Client::new().get(world.node.url("/revocations"));
    let request = client.basic_auth(&world.client.name, Some(&world.client.secret));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap().error_for_status().unwrap();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (media_type, response.bytes().await.unwrap().to_vec())
}

/// What a service reads at its start is hashed for its index, and what every other follower reads is as it was before.
#[tokio::test]
async fn a_long_log_is_read_hashed_by_those_who_can() {
    const ENTRIES: usize = 5_000;
    let world = World::start().await;
    let first = world.ready_service().await;
    let expires_at = SystemClock.now().plus(Duration::from_secs(3_600));
    let revocation = |number| Revocation {
        issuer: Issuer::new("adieu").unwrap(),
        target: Target::Token { id: TokenId::new(format!("token-{number}")).unwrap(), expires_at: Some(expires_at) },
        lapses_at: Revocation::lapse_for(expires_at),
    };
    first.log().append((0..ENTRIES).map(revocation).collect()).await.unwrap();

    let service = world.ready_service().await;
    assert_eq!(service.verifier().index().stats().entries, ENTRIES);
    assert!((0..ENTRIES).all(|number| is_revoked(&service, &format!("token-{number}"), expires_at)));
    assert!(!is_revoked(&service, "token-5000", expires_at));

    let hasher = RevocationHasher::from_key([7; RevocationHasher::KEY_BYTES]);
    let name = wire::INDEX_KEY;
    let key = (name.as_str(), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    let (media_type, page) = first_page(&world, &[("accept", wire::HASHED_OR_BINARY), key]).await;
    assert_eq!(media_type, wire::HASHED);
    let (head, hashed) = wire::from_hashed(&page, &hasher).unwrap();
    assert!(!head.page.complete && head.page.entries.is_empty());
    assert!(page.len() <= 12 * hashed.len(), "{} bytes for {} entries", page.len(), hashed.len());
    for headers in [&[("accept", wire::BINARY), key] as &[_], &[("accept", wire::HASHED_OR_BINARY)]] {
        let (media_type, page) = first_page(&world, headers).await;
        let page = wire::from_binary(&page).unwrap().page;
        assert_eq!((media_type.as_str(), page.complete), (wire::BINARY, false));
        // All lapse at the same time, so they are in the order of their fingerprints.
        let mut expected: Vec<_> = hasher.hash_all(&page.entries).collect();
        expected.sort_by_key(|entry| entry.parts().fingerprint);
        assert!(hashed == expected);
    }
    let (media_type, page) = first_page(&world, &[key]).await;
    assert_eq!(media_type, wire::JSON);
    assert_eq!(wire::from_json(&page).unwrap().page.entries.len(), hashed.len());
}

#[tokio::test]
async fn an_answer_that_comes_late_does_not_lie() {
    let world = World::start().await;
    let service = world.ready_service().await;
    for delay in [100, 400, 900, 1_500] {
        let token = world.node.log_in("jose").await;
        world.proxy.delay(Duration::ZERO);
        accepts(&service, &token).await;
        world.proxy.delay(Duration::from_millis(delay));
        let answered_at = world.log_out(&token).await;
        tokio::time::sleep(BOUND).await;
        world.proxy.delay(Duration::ZERO);
        until_revoked(&service, &token, answered_at).await;
    }
}

#[tokio::test]
async fn a_node_that_is_started_again_is_followed_again_and_so_is_another_log() {
    let mut world = World::start().await;
    let service = world.ready_service().await;
    let (old, newer, other) =
        (world.node.log_in("jose").await, world.node.log_in("jose").await, world.node.log_in("jose").await);
    accepts(&service, &old).await;
    let answered_at = world.log_out(&old).await;

    // Killed at once: an acknowledged logout is kept.
    world.node.start_again(|_| ()).await;
    until_revoked(&service, &old, answered_at).await;
    accepts(&service, &other).await;

    // The same store with another log id.
    let rename = |folder: &std::path::Path| {
        let store = rusqlite::Connection::open(folder.join("adieu.sqlite")).unwrap();
        assert_eq!(store.execute("UPDATE revocation_log_state SET log_id = 'another'", []).unwrap(), 1);
    };
    world.node.start_again(rename).await;
    let answered_at = world.log_out(&newer).await;
    until_revoked(&service, &newer, answered_at).await;
    accepts(&service, &other).await;
    assert!(matches!(refusal(&service, &old), Some(TokenError::Revoked(_))), "what was known is known");
}

#[tokio::test]
async fn a_service_that_knows_nothing_yet_refuses_and_says_so() {
    let world = World::start().await;
    let token = world.node.log_in("jose").await;
    world.proxy.cut();
    let service = world.service().with_stale_policy(adieu::token::StalePolicy::Accept).start().unwrap();
    for _ in 0..20 {
        assert_eq!(refusal(&service, &token), Some(TokenError::Stale));
        assert!(!service.is_ready());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.proxy.heal();
    service.ready().await.unwrap();
    assert_eq!(refusal(&service, &token), None);
    assert!(service.is_ready());
}

#[tokio::test]
async fn what_a_service_revokes_holds_at_once_here_and_at_the_node() {
    let world = World::start().await;
    let service = world.ready_service().await;
    for by_hand in [false, true] {
        let token = world.node.log_in("jose").await;
        let claims = service.verifier().verify(&token).unwrap();
        if by_hand {
            let target = Target::Token { id: claims.token_id.clone(), expires_at: Some(claims.expires_at) };
            let lapses_at = Revocation::lapse_for(claims.expires_at);
            let revocation = Revocation { issuer: claims.issuer.clone(), target, lapses_at };
            // Repeating a revocation has no effect.
            service.revoke(vec![revocation.clone(), revocation]).await.unwrap();
        } else {
            service.log_out(&claims).await.unwrap();
        }
        assert!(matches!(refusal(&service, &token), Some(TokenError::Revoked(_))));
        assert_eq!(world.node.verify(&token).await, (401, "token_revoked".to_owned()));
    }
}

#[tokio::test]
async fn what_will_not_get_better_by_waiting_is_said() {
    let world = World::start().await;
    let issuer = Issuer::new("adieu").unwrap();
    let wrong = Service::builder(issuer, world.proxy.url(), &world.client.name, "wrong".into()).start().unwrap();
    let error = wrong.ready().await.unwrap_err();
    assert!(matches!(&error, Error::Unauthorized(reason) if reason.contains("`orders`")), "{error}");

    let lax = world.service().with_max_staleness(Duration::from_secs(60)).start().unwrap();
    let error = lax.ready().await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported(reason) if reason.contains("max_staleness")), "{error}");
}
