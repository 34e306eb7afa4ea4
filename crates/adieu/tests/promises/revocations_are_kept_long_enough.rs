//! A revocation outlives every token it matches, and is removed, on disk and in memory, soon after.

use std::time::Duration;

use adieu::{
    revocation::{Revocation, RevokedBy, RevokedClaim, Target},
    run_maintenance,
    session::{Origin, RevocationRequest, RevocationTarget, Scope, SessionError, SessionSettings, TokenOptions},
    store::Memory,
    time::Clock,
    token::{Rules, TokenError},
};
use adieu_sqlite::Sqlite;

use crate::support::{NOON, Node, Setup, issuer, jose};

#[tokio::test]
async fn it_outlives_the_last_access_token_and_is_then_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::on_file(&folder.path().join("adieu.sqlite"), Setup::default()).await;
    let first = node.log_in(jose()).await;
    node.clock.advance(Duration::from_secs(14 * 60));
    node.catch_up().await;
    let last = node.refresh(&first.refresh).await.unwrap();
    node.sessions.log_out(&last.access, Scope::This).await.unwrap();

    // One second before the last token expires.
    node.clock.advance(Duration::from_secs(15 * 60 - 1));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    assert_eq!(node.refusal(&last.access), Some(TokenError::Revoked(RevokedBy::Session)));
    assert_eq!(node.index.stats().entries, 1);

    node.clock.advance(Duration::from_secs(60 * 60));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    assert_eq!(node.refusal(&last.access), Some(TokenError::Expired));
    assert_eq!(node.log.read(None, Duration::ZERO).await.unwrap().entries, vec![]);
    assert_eq!(node.index.stats().entries, 0);
}

/// The same refresh token returns another access token.
#[tokio::test]
async fn it_outlives_an_access_token_that_a_second_answer_gave() {
    let node = Node::start().await;
    let first = node.log_in(jose()).await;
    node.refresh(&first.refresh).await.unwrap();
    node.clock.advance(Duration::from_secs(14 * 60));
    node.catch_up().await;
    let again = node.refresh(&first.refresh).await.unwrap();
    node.sessions.log_out(&again.access, Scope::This).await.unwrap();

    node.clock.advance(Duration::from_secs(15 * 60 - 1));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    assert_eq!(node.refusal(&again.access), Some(TokenError::Revoked(RevokedBy::Session)));
}

/// The revocations of so old a token have been pruned, so it counts as expired, whatever the clock says.
#[tokio::test]
async fn once_it_may_be_forgotten_its_token_ends_its_own_session_at_most() {
    let node = Node::start().await;
    let (tokens, forgotten) = (node.log_in(jose()).await, node.log_in(jose()).await);
    node.sessions.log_out(&forgotten.access, Scope::This).await.unwrap();
    node.clock.advance(Duration::from_secs(60 * 60));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    node.clock.set_wall(NOON);
    assert_eq!(node.refusal(&forgotten.access), Some(TokenError::Expired));
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Expired));
    for scope in [Scope::All, Scope::Others] {
        let refused = node.sessions.log_out(&tokens.access, scope).await;
        assert!(matches!(refused, Err(SessionError::InvalidToken(TokenError::Expired))), "{refused:?}");
    }
    assert_eq!(node.sessions.log_out(&tokens.access, Scope::This).await.unwrap().sessions, 1);
}

#[tokio::test]
async fn it_outlives_tokens_that_were_minted_when_they_lived_longer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let hour = Duration::from_secs(60 * 60);
    let long = SessionSettings::new(issuer()).with_access_lifetime(hour);
    let tokens = {
        let node = Node::on_file(&file, Setup { settings: long, ..Setup::default() }).await;
        node.log_in(jose()).await
    };

    // The administrator shortens the lifetime of tokens, and restarts.
    let node = Node::on_file(&file, Setup::default()).await;
    node.sessions.log_out(&tokens.refresh, Scope::This).await.unwrap();
    node.clock.advance(hour - Duration::from_secs(1));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    drop(node.follower);

    let setup = Setup { clock: node.clock.clone(), ..Setup::default() };
    let node = Node::on_file(&file, setup).await;
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Session)));
}

#[tokio::test]
async fn so_does_one_of_a_token_of_which_only_the_id_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adieu.sqlite");
    let day = Duration::from_secs(24 * 60 * 60);
    let long = SessionSettings::new(issuer()).with_access_lifetime(day);
    let tokens = Node::on_file(&file, Setup { settings: long, ..Setup::default() }).await.log_in(jose()).await;

    let hour = Duration::from_secs(60 * 60);
    let short = SessionSettings::new(issuer()).with_refresh_lifetime(hour).with_session_lifetime(hour);
    let node = Node::on_file(&file, Setup { settings: short, ..Setup::default() }).await;
    node.sessions.revoke_token_id(tokens.claims.token_id.clone(), None).await.unwrap();
    node.clock.advance(day - Duration::from_secs(1));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();

    let node = Node::on_file(&file, Setup { clock: node.clock.clone(), ..Setup::default() }).await;
    assert_eq!(node.refusal(&tokens.access), Some(TokenError::Revoked(RevokedBy::Token)));
}

#[tokio::test]
async fn thousands_go_in_steps_and_none_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::on_file(&folder.path().join("adieu.sqlite"), Setup::default()).await;
    let token = |number: u64| {
        // Every third one lives for an hour, the rest for a minute.
        let lifetime = if number.is_multiple_of(3) { 3_600 } else { 60 };
        let expires_at = node.clock.now().plus(Duration::from_secs(lifetime));
        Revocation {
            issuer: issuer(),
            target: Target::Token { id: format!("token-{number}").parse().unwrap(), expires_at: Some(expires_at) },
            lapses_at: Revocation::lapse_for(expires_at),
        }
    };
    node.log.append((0..3_000).map(token).collect()).await.unwrap();

    let later = node.clock.now().plus(Duration::from_secs(600));
    let mut steps = 0;
    loop {
        let pruned = node.log.prune(later).await.unwrap();
        assert!(pruned.removed <= 256, "a step is short");
        steps += 1;
        if pruned.complete {
            break;
        }
    }
    assert!(steps > 4);
    let page = node.log.read(None, Duration::ZERO).await.unwrap();
    assert_eq!(page.entries.len(), 1_000);
    assert_eq!(page.pruned_through, later);
    assert!(page.entries.iter().all(|entry| entry.lapses_at > later));
}

/// The lifetime of tokens is raised, and lowered, while logins and refreshes run.
#[tokio::test]
async fn it_outlives_tokens_of_every_lifetime_that_the_settings_had() {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(60 * 60));
    let lifetime = |access| SessionSettings::new(issuer()).with_access_lifetime(access);
    let node = Node::start().await;
    let (first, short) = (node.log_in(jose()).await, node.log_in(jose()).await);
    node.sessions.replace_settings(lifetime(hour)).unwrap();
    let long = node.refresh(&first.refresh).await.unwrap();
    assert_eq!(long.claims.expires_at, node.clock.now().plus(hour));
    node.sessions.replace_settings(lifetime(minute)).unwrap();
    assert_eq!(node.log_in(jose()).await.claims.expires_at, node.clock.now().plus(minute));
    assert_eq!(short.claims.expires_at, node.clock.now().plus(15 * minute), "tokens keep their expiry");
    node.sessions.log_out(&long.refresh, Scope::All).await.unwrap();

    node.clock.advance(hour - Duration::from_secs(1));
    run_maintenance(&*node.log, &*node.store, node.clock.now()).await.unwrap();
    node.catch_up().await;
    assert_eq!(node.refusal(&long.access), Some(TokenError::Revoked(RevokedBy::Session)));
}

/// Tokens with the claim may be from before the lifetime was lowered, which a caller who says how long to keep it need not know.
#[tokio::test]
async fn that_of_a_claim_outlives_tokens_of_a_longer_lifetime() {
    let hour = Duration::from_secs(60 * 60);
    let node = Node::start().await;
    let settings = |lifetime| {
        let settings = SessionSettings::new(issuer()).with_access_lifetime(hour.min(lifetime));
        settings.with_refresh_lifetime(lifetime).with_session_lifetime(lifetime)
    };
    node.sessions.replace_settings(settings(10 * hour)).unwrap();
    let pair = node.log_in(jose()).await;
    node.sessions.replace_settings(settings(hour)).unwrap();
    assert_eq!(node.sessions.longest_session(), 90 * 24 * hour, "that of the first settings");
    for keep_until in [None, Some(node.clock.now())] {
        let claim = RevokedClaim::new("role", &format!("{keep_until:?}")).unwrap();
        let mut request = RevocationRequest::new(RevocationTarget::Claim(claim));
        request.keep_until = keep_until;
        node.sessions.revoke(vec![request]).await.unwrap();
        let last = node.log.read(None, Duration::ZERO).await.unwrap().entries.pop().unwrap();
        assert!(last.lapses_at > pair.refresh_expires_at, "{keep_until:?}");
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_change_nothing() {
    let node = Node::start().await;
    for wrong in [
        SessionSettings::new("another".parse().unwrap()),
        SessionSettings::new(issuer()).with_audience("another"),
        SessionSettings::new(issuer()).with_access_lifetime(Duration::ZERO),
    ] {
        assert!(node.sessions.replace_settings(wrong).is_err());
    }
    let lifetime = node.log_in(jose()).await.claims.expires_at;
    assert_eq!(lifetime, node.clock.now().plus(Duration::from_secs(15 * 60)));
}

/// Tokens without a session, of an application that signs them itself, may outlive the sessions.
#[tokio::test]
async fn a_cut_off_is_kept_as_long_as_the_caller_or_the_rules_say() {
    let day = Duration::from_secs(24 * 60 * 60);
    for target in [RevocationTarget::Subject(jose()), RevocationTarget::Everything] {
        let asked_for = RevocationRequest::new(target.clone()).with_keep_until(NOON.plus(120 * day));
        let earlier = RevocationRequest::new(target.clone()).with_keep_until(NOON.plus(day));
        let node = Node::start().await;
        node.sessions.revoke(vec![asked_for, earlier]).await.unwrap();
        let rules = Rules::new(issuer()).with_max_lifetime(100 * day);
        let strict = Node::with_rules(Memory::new(), rules, Setup::default()).await;
        strict.sessions.revoke(vec![target.into()]).await.unwrap();
        let mut entries = node.log.read(None, Duration::ZERO).await.unwrap().entries;
        entries.extend(strict.log.read(None, Duration::ZERO).await.unwrap().entries);
        let kept: Vec<_> = entries.iter().map(|entry| entry.lapses_at).collect();
        let sessions = node.sessions.longest_session();
        assert_eq!(kept, [120 * day, sessions, 100 * day].map(|last| Revocation::lapse_for(NOON.plus(last))));
    }
}

/// A standby that took over may lack the row of a session. Its access token may live as long as a session can: a login chooses.
#[tokio::test]
async fn that_of_a_session_whose_row_was_lost_outlives_its_longest_token() {
    let day = Duration::from_secs(24 * 60 * 60);
    for scope in [Some(Scope::This), None] {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
        let node = Node::on(store.clone(), Setup::default()).await;
        let options = TokenOptions::new().with_access_lifetime(60 * day);
        let pair = node.sessions.log_in_with(jose(), Origin::default(), &options).await.unwrap();
        assert_eq!(pair.claims.expires_at, node.clock.now().plus(60 * day));
        let lose = |connection: &adieu_sqlite::rusqlite::Connection| connection.execute("DELETE FROM session", []);
        assert_eq!(store.transact(lose).await.unwrap(), 1);
        match scope {
            Some(scope) => drop(node.sessions.log_out(&pair.refresh, scope).await.unwrap_err()),
            None => {
                let session = RevocationTarget::Session(pair.claims.session.clone().unwrap());
                node.sessions.revoke(vec![session.into()]).await.unwrap();
            }
        }
        let kept = node.log.read(None, Duration::ZERO).await.unwrap().entries.pop().unwrap();
        assert!(kept.lapses_at > pair.claims.expires_at, "{kept:?}");
    }
}
