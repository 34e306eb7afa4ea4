//! The verifier accepts the logout tokens that `adieu` signs, and takes nothing else that it signs for one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::Arc, time::Duration};

use adieu::{
    Issuer, SessionId, Subject,
    revocation::Target,
    time::Timestamp,
    token::{
        Algorithm, Claims, Decoder, KeySet, LogoutClaims, LogoutTarget, Rules, SigningKey, TokenError, TokenType,
        encode, encode_logout,
    },
};
use adieu_events::{EventError, EventKind, Receiver, Sender};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn issuer() -> Issuer {
    Issuer::new("https://adieu.example").unwrap()
}

fn receiver(key: &SigningKey) -> (Receiver, Arc<Decoder>) {
    let rules = Rules::new(issuer()).with_max_lifetime(Duration::from_secs(3600));
    let decoder = Arc::new(Decoder::new(rules, KeySet::new([key.verifying_key().clone()]).unwrap()));
    let sender = Sender::new(Arc::clone(&decoder)).with_audience("shop").accepting([EventKind::BackchannelLogout]);
    (Receiver::new([sender]), decoder)
}

#[test]
fn a_logout_token_ends_what_it_names_while_it_is_valid() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let (receiver, decoder) = receiver(&key);
        let session = SessionId::new("s\"1").unwrap();
        let subject = Subject::new("maria <&\"é").unwrap();
        for (target, ends) in [
            (LogoutTarget::Session(session.clone()), Target::Session { id: session }),
            (LogoutTarget::Subject(subject.clone()), Target::Subject { id: subject, issued_until: NOW }),
        ] {
            let token_for =
                |client: &str| encode_logout(&key, &LogoutClaims::new(issuer(), client, target.clone(), NOW)).unwrap();
            let token = token_for("shop");
            let received = receiver.backchannel_logout(&token, NOW.plus(Duration::from_secs(119))).unwrap();
            assert_eq!(received.revocations().into_iter().map(|one| one.target).collect::<Vec<_>>(), [ends]);

            let late = receiver.backchannel_logout(&token, NOW.plus(Duration::from_secs(1000)));
            assert!(matches!(late, Err(EventError::Message(TokenError::Expired))), "{late:?}");
            assert!(receiver.backchannel_logout(&token_for("bank"), NOW).is_err(), "for another client");
            assert!(decoder.decode(&token, NOW).is_err(), "it is no access token");
        }
    }
}

#[test]
fn no_access_or_refresh_token_is_a_logout_token() {
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let (receiver, _) = receiver(&key);
    for token_type in [TokenType::Access, TokenType::Refresh] {
        let subject = Subject::new("maria").unwrap();
        let mut claims = Claims::new(issuer(), subject, token_type, NOW, Duration::from_secs(60));
        claims.audience = vec!["shop".to_owned()];
        let event = serde_json::json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
        claims.custom.insert("events".to_owned(), event);
        let token = encode(&key, &claims).unwrap();
        assert!(receiver.backchannel_logout(&token, NOW).is_err(), "{token_type}");
    }
}
