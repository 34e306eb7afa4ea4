//! An issuer whose keys a task follows signs with one that is not known yet: a logout waits for it, within limits.

use adieu::token::KeyUpdates;
use tokio::time::Instant;

use super::*;

/// A node that follows the keys of `them`.
struct Following {
    node: Node,
    decoder: Arc<Decoder>,
    updates: Arc<KeyUpdates>,
}

impl Following {
    async fn start(key: &SigningKey) -> Self {
        let updates = Arc::new(KeyUpdates::default());
        let keys = KeySet::new([key.verifying_key().clone()]).unwrap().followed(Arc::clone(&updates));
        let decoder = Arc::new(Decoder::new(Rules::new(issuer("them")), keys));
        let clock = Arc::new(ManualClock::at(NOON));
        let builder = Node::builder(issuer("us")).with_clock(clock).with_issuer(Arc::clone(&decoder));
        Self { node: builder.start(Memory::new()).await.unwrap(), decoder, updates }
    }

    fn read(&self, key: &SigningKey) {
        let keys = KeySet::new([key.verifying_key().clone()]).unwrap();
        self.decoder.replace_keys(keys.followed(Arc::clone(&self.updates)));
        self.updates.were_read();
    }

    async fn log_out(&self, token: &str) -> Result<(), SessionError> {
        self.node.sessions().log_out(token, Scope::This).await.map(drop)
    }
}

fn is(result: &Result<(), SessionError>, expected: &TokenError) -> bool {
    matches!(result, Err(SessionError::InvalidToken(refusal)) if refusal == expected)
}

#[tokio::test(start_paused = true)]
async fn a_logout_asks_for_them_and_waits_until_they_have_been_read() {
    let [old, new] = [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap());
    let following = Following::start(&old).await;
    let token = encode(&new, &claims("them")).unwrap();
    let (ended, ()) = tokio::join!(following.log_out(&token), async {
        following.updates.wanted().await;
        following.read(&new);
    });
    ended.unwrap();
    assert_eq!(following.node.verifier().verify(&token), Err(TokenError::Revoked(RevokedBy::Token)));

    // They have not changed.
    let unknown = encode(&old, &claims("them")).unwrap();
    let (ended, ()) = tokio::join!(following.log_out(&unknown), async {
        following.updates.wanted().await;
        following.read(&new);
    });
    assert!(is(&ended, &TokenError::UnknownKey), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_than_some_wait_and_none_for_long() {
    let [known, unknown] = [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap());
    let following = Arc::new(Following::start(&known).await);
    let mut waiting = tokio::task::JoinSet::new();
    let started = Instant::now();
    for _ in 0..1030 {
        let (following, token) = (Arc::clone(&following), encode(&unknown, &claims("them")).unwrap());
        waiting.spawn(async move { (following.log_out(&token).await, started.elapsed()) });
    }
    let mut at_once = 0;
    while let Some(ended) = waiting.join_next().await {
        let (ended, waited) = ended.unwrap();
        assert!(is(&ended, &TokenError::Stale), "{ended:?}");
        assert!(waited < Duration::from_secs(9), "{waited:?}");
        at_once += usize::from(waited < Duration::from_secs(1));
    }
    assert_eq!(at_once, 6);
    // All others go on meanwhile, and afterwards there is room again.
    following.log_out(&encode(&known, &claims("them")).unwrap()).await.unwrap();
    let ended = following.log_out(&encode(&unknown, &claims("them")).unwrap()).await;
    assert!(is(&ended, &TokenError::Stale) && started.elapsed() > Duration::from_secs(15));
}
