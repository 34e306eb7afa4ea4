//! A revocation applies to the tokens of one issuer, and reaches as far as the clock of that issuer may be ahead.

use super::*;

#[tokio::test]
async fn a_revocation_is_of_one_issuer() {
    let setup = Setup::start().await;
    let theirs = claims("them");
    let mut same_id = claims("us");
    same_id.token_id = theirs.token_id.clone();
    let (theirs, ours) = (encode(&setup.theirs, &theirs).unwrap(), encode(&setup.ours(), &same_id).unwrap());
    assert!(setup.verify(&theirs).is_ok());

    assert_eq!(setup.log_out(&theirs, Scope::This).await, Ok(0));
    assert_eq!(setup.verify(&theirs), Err(TokenError::Revoked(RevokedBy::Token)));
    assert!(setup.verify(&ours).is_ok(), "ours has the same id, and is another token");
    assert_eq!(
        setup.log_out(&theirs, Scope::This).await,
        Err(TokenError::Revoked(RevokedBy::Token)),
        "the second call reports that the token was revoked already"
    );
}

#[tokio::test]
async fn a_foreign_session_is_not_one_of_ours() {
    let setup = Setup::start().await;
    let ours = setup.node.sessions().log_in(Subject::new("jose").unwrap()).await;
    let ours = ours.unwrap();
    // Another issuer claims the same subject and the same session.
    let mut forged = claims("them");
    forged.session = ours.claims.session.clone();
    let refresh = {
        let mut claims = forged.clone();
        claims.token_type = TokenType::Refresh;
        claims.token_id = TokenId::random();
        claims
    };
    let [forged, refresh] = [forged, refresh].map(|claims| encode(&setup.theirs, &claims).unwrap());

    assert!(setup.node.sessions().inspect(&refresh).is_err(), "only our own refresh tokens are exchanged here");
    assert_eq!(setup.verify(&refresh), Err(TokenError::WrongTokenType { expected: TokenType::Access }));
    let any = |token: &str| setup.node.sessions().verify_any(token);
    assert_eq!(any(&refresh).unwrap_err(), TokenError::WrongTokenType { expected: TokenType::Access });
    assert!(matches!(any(&ours.refresh), Ok(VerifiedToken::Refresh(token)) if token.claims().issuer == issuer("us")));
    for access in [&ours.access, &forged] {
        assert!(matches!(any(access), Ok(VerifiedToken::Access(_))));
    }
    setup.node.sessions().record_use(&setup.verify(&forged).unwrap());
    assert_eq!(setup.log_out(&forged, Scope::This).await, Ok(0));
    // The session belongs to that issuer.
    assert_eq!(setup.log_out(&refresh, Scope::This).await, Err(TokenError::Revoked(RevokedBy::Session)));
    assert!(setup.verify(&ours.access).is_ok());
    let theirs = encode(&setup.theirs, &claims("them")).unwrap();
    let others = setup.node.sessions().log_out(&theirs, Scope::Others).await;
    assert!(matches!(others, Err(SessionError::UnknownSessions)), "{others:?}");
    assert!(setup.verify(&theirs).is_ok(), "nothing is half done");
    assert!(setup.node.sessions().inspect(&ours.refresh).is_ok());
}

#[tokio::test]
async fn logging_out_everywhere_ends_what_the_subject_was_given_until_now() {
    let setup = Setup::start().await;
    let [first, second] = [(); 2].map(|()| encode(&setup.theirs, &claims("them")).unwrap());
    let mut other = claims("them");
    other.subject = Subject::new("ana").unwrap();
    let other = encode(&setup.theirs, &other).unwrap();
    let ours = encode(&setup.ours(), &claims("us")).unwrap();

    assert_eq!(setup.log_out(&first, Scope::All).await, Ok(0));
    for token in [&first, &second] {
        assert!(matches!(setup.verify(token), Err(TokenError::Revoked(_))));
    }
    assert!(setup.verify(&other).is_ok() && setup.verify(&ours).is_ok());

    // The issuer's clock may be ahead: a token with a slightly later `iat` may be from before.
    let ahead = NOON.plus(DEFAULT_SKEW);
    let ahead = {
        let mut claims = claims("them");
        claims.issued_at = Some(ahead);
        claims.not_before = Some(ahead);
        claims
    };
    assert!(matches!(setup.verify(&encode(&setup.theirs, &ahead).unwrap()), Err(TokenError::Revoked(_))));

    setup.clock.advance(DEFAULT_SKEW + Duration::from_secs(1));
    while !setup.node.verifier().is_fresh() {
        tokio::task::yield_now().await;
    }
    let now = setup.clock.now();
    let later = {
        let mut claims = claims("them");
        claims.issued_at = Some(now);
        claims.not_before = Some(now);
        claims
    };
    assert!(setup.verify(&encode(&setup.theirs, &later).unwrap()).is_ok(), "a new login does not inherit it");

    // The cut-off is kept for as long as a token from before may live, and a token that lives longer is rejected.
    let revocations = setup.node.log().read(None, Duration::ZERO).await.unwrap().entries;
    let longest = revocations.iter().map(|revocation| revocation.lapses_at).max().unwrap();
    assert!(longest >= NOON.plus(HOUR * 24) && longest <= NOON.plus(HOUR * 25), "{longest:?}");
    let immortal = {
        let mut claims = later;
        claims.expires_at = now.plus(HOUR * 25);
        claims
    };
    assert_eq!(setup.verify(&encode(&setup.theirs, &immortal).unwrap()), Err(TokenError::InvalidClaim("exp")));
}

/// The clock of this test does not move, so each call waits for its maximum.
#[tokio::test(start_paused = true)]
async fn logging_out_everywhere_returns_when_what_is_issued_next_is_good() {
    const SECOND: Duration = Duration::from_secs(1);
    let setup = Setup::start().await;
    let began_at = tokio::time::Instant::now();
    let token = |subject: &str| {
        let claims = {
            let mut claims = claims("them");
            claims.subject = Subject::new(subject).unwrap();
            claims
        };
        encode(&setup.theirs, &claims).unwrap()
    };
    assert_eq!(setup.log_out(&token("jose"), Scope::This).await, Ok(0));
    assert!(began_at.elapsed() < SECOND, "one token is no cut-off: {:?}", began_at.elapsed());
    assert_eq!(setup.log_out(&token("ana"), Scope::All).await, Ok(0));
    assert!(began_at.elapsed() >= DEFAULT_SKEW + SECOND, "{:?}", began_at.elapsed());
}

#[tokio::test]
async fn a_revoked_subject_is_cut_off_as_far_ahead_as_its_issuers_clock_may_be() {
    let setup = Setup::start().await;
    let jose = || Subject::new("jose").unwrap();
    for of in ["them", "flask", "an issuer that is not trusted here"] {
        let named = RevocationRequest::new(RevocationTarget::Subject(jose())).with_issuer(issuer(of));
        setup.node.sessions().revoke(vec![named]).await.unwrap();
    }
    setup.node.sessions().revoke_subject(jose()).await.unwrap();
    let entries = setup.node.log().read(None, Duration::ZERO).await.unwrap().entries;
    let until = entries.iter().map(|entry| match &entry.target {
        Target::Subject { issued_until, .. } => issued_until.since(NOON),
        other => panic!("{other:?}"),
    });
    // A session of this node's own issuer ends by its id, whatever the issuer's clock says, and a login must not have to wait.
    assert_eq!(Vec::from_iter(until), [DEFAULT_SKEW, FLASK_SKEW, DEFAULT_SKEW, Duration::ZERO]);
}

/// However far ahead the issuer's clock may be: after the response that everything of a subject has ended, the user can log in at once.
#[tokio::test(start_paused = true)]
async fn who_logs_in_after_a_call_that_cuts_off_is_not_cut_off() {
    for skew in [0, 1, 3, 7, 30, 60] {
        let setup = Setup::with_skew(Duration::from_secs(skew)).await;
        let clock = setup.clock.clone();
        let time = tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let sessions = setup.node.sessions();
        let named =
            RevocationRequest::new(RevocationTarget::Subject(claims("them").subject)).with_issuer(issuer("them"));
        let reach = sessions.cut_off_lead(std::slice::from_ref(&named)).unwrap();
        sessions.revoke(vec![named]).await.unwrap();
        sessions.wait_past_cut_off(reach).await;
        setup.has_cut_off_until_before_now(1).await;
        let theirs = {
            let mut claims = claims("them");
            claims.issued_at = Some(setup.clock.now());
            claims.not_before = None;
            claims
        };
        sessions.log_out(&encode(&setup.theirs, &theirs).unwrap(), Scope::All).await.unwrap();
        setup.has_cut_off_until_before_now(2).await;
        time.abort();
    }
}

/// A token from a log file, for example: its finder may end the session of that token, and nothing else.
#[tokio::test]
async fn a_token_that_is_not_in_time_ends_its_own_session_at_most() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let setup = Setup::start().await;
    let sign = |claims: &Claims| encode(&setup.theirs, claims).unwrap();
    let session = |name: &str| Some(SessionId::new(name).unwrap());
    let live = {
        let mut claims = claims("them");
        claims.session = session("live");
        claims
    };
    let past = NOON.minus(DAY * 400);
    let old = {
        let mut claims = claims("them");
        claims.issued_at = Some(past);
        claims.not_before = Some(past);
        claims.expires_at = past.plus(HOUR);
        claims.session = session("old");
        claims
    };
    let coming = NOON.plus(HOUR);
    let coming = {
        let mut claims = claims("them");
        claims.issued_at = Some(coming);
        claims.not_before = Some(coming);
        claims.expires_at = coming.plus(HOUR);
        claims.session = session("new");
        claims
    };
    for (claims, refusal) in [(&old, TokenError::Expired), (&coming, TokenError::NotYetValid)] {
        for scope in [Scope::All, Scope::Others] {
            assert_eq!(setup.log_out(&sign(claims), scope).await, Err(refusal.clone()));
        }
        assert!(setup.verify(&sign(&live)).is_ok());

        assert_eq!(setup.log_out(&sign(claims), Scope::This).await, Ok(0));
        let same_session = {
            let mut claims_ = live.clone();
            claims_.session = claims.session.clone();
            claims_.token_id = TokenId::random();
            claims_
        };
        assert_eq!(setup.verify(&sign(&same_session)), Err(TokenError::Revoked(RevokedBy::Session)));
        assert!(setup.verify(&sign(&live)).is_ok());
    }
}

/// Otherwise everyone with such a token could append to the log without end.
#[tokio::test]
async fn a_token_whose_revocation_would_be_forgotten_at_once_is_not_revoked() {
    let setup = Setup::start().await;
    let revocations = async || setup.node.log().read(None, Duration::ZERO).await.unwrap().cursor.position;
    let old = |of: &str, lived_until: Duration| {
        let mut claims = claims(of);
        claims.issued_at = Some(NOON.minus(HOUR));
        claims.not_before = claims.issued_at;
        claims.expires_at = NOON.minus(lived_until);
        claims
    };
    setup.node.verifier().index().raise_pruned_through(NOON);
    let before = revocations().await;
    for (key, claims) in [(&setup.theirs, old("them", HOUR / 2)), (&setup.ours(), old("us", HOUR / 2))] {
        let token = encode(key, &claims).unwrap();
        for _ in 0..2 {
            assert_eq!(setup.log_out(&token, Scope::This).await, Err(TokenError::Expired));
        }
    }
    assert_eq!(revocations().await, before);
    // One that has just expired may still be accepted elsewhere.
    let token = encode(&setup.theirs, &old("them", Duration::from_secs(1))).unwrap();
    assert_eq!(setup.log_out(&token, Scope::This).await, Ok(0));
    assert!(revocations().await > before);
}
