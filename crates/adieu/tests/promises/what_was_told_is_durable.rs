//! After a response that a token has been revoked, the token is rejected: here and elsewhere, and after a restart. That holds even if the
//! store has neither its session nor a revocation, because both were lost.

use adieu::{
    revocation::RevokedBy,
    session::{Scope, SessionError, TokenPair},
    token::TokenError,
};
use adieu_sqlite::Sqlite;

use crate::support::{Node, Setup, jose};

#[derive(Debug, Clone, Copy)]
enum Told {
    LogoutByAccess,
    LogoutByRefresh,
    LogoutOfAll,
    Refresh,
    Renewal,
    VerifyingRefresh,
}

async fn ask(node: &Node, tokens: &TokenPair, how: Told) -> Option<SessionError> {
    let sessions = &node.sessions;
    match how {
        Told::LogoutByAccess => sessions.log_out(&tokens.access, Scope::This).await.err(),
        Told::LogoutByRefresh => sessions.log_out(&tokens.refresh, Scope::This).await.err(),
        Told::LogoutOfAll => sessions.log_out(&tokens.access, Scope::All).await.err(),
        Told::Refresh => node.refresh(&tokens.refresh).await.err(),
        Told::Renewal => sessions.renew(&tokens.access, &Default::default()).await.err(),
        Told::VerifyingRefresh => sessions.verify_refresh(&tokens.refresh).await.err(),
    }
}

#[tokio::test]
async fn a_session_that_was_lost_is_revoked_before_anybody_is_told_that_it_is() {
    use Told::*;
    for how in [LogoutByAccess, LogoutByRefresh, LogoutOfAll, Refresh, Renewal, VerifyingRefresh] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("adieu.sqlite");
        let store = Sqlite::open(&file).await.unwrap();
        let node = Node::on(store.clone(), Setup::default()).await;
        let (tokens, stays) = (node.log_in(jose()).await, node.log_in(jose()).await);
        let other = Node::on_file(&file, Setup::default()).await;
        // As in a copy from before the login, or on a standby that took over without it.
        let session = tokens.claims.session.clone().unwrap();
        let lose = move |connection: &adieu_sqlite::rusqlite::Connection| {
            connection.execute("DELETE FROM session WHERE id = $1", [session.as_str()])
        };
        assert_eq!(store.transact(lose).await.unwrap(), 1);
        assert_eq!(node.refusal(&tokens.access), None);

        let told = Some(TokenError::Revoked(RevokedBy::Session));
        let is_told = |error: Option<SessionError>| match error {
            Some(SessionError::InvalidToken(refusal)) => assert_eq!(Some(refusal), told, "{how:?}"),
            other => panic!("{how:?}: {other:?}"),
        };
        is_told(ask(&node, &tokens, how).await);
        assert_eq!(node.refusal(&tokens.access), told, "{how:?}");
        other.catch_up().await;
        assert_eq!(other.refusal(&tokens.access), told, "{how:?}: at another node");
        let later = Node::on_file(&file, Setup::default()).await;
        assert_eq!(later.refusal(&tokens.access), told, "{how:?}: after a restart");
        assert_eq!(later.refusal(&stays.access), None);

        // Once: repeated calls do not make the log grow.
        let entries = async || node.log.read(None, std::time::Duration::ZERO).await.unwrap().entries.len();
        let before = entries().await;
        is_told(ask(&node, &tokens, how).await);
        assert_eq!((before, entries().await), (1, 1), "{how:?}");
    }
}

#[tokio::test]
async fn nobody_is_told_when_the_store_can_not_write_it_down() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("adieu.sqlite")).await.unwrap();
    let node = Node::on(store.clone(), Setup::default()).await;
    let tokens = node.log_in(jose()).await;
    let lose = |connection: &adieu_sqlite::rusqlite::Connection| {
        connection.execute_batch(
            "DELETE FROM session; CREATE TRIGGER full BEFORE INSERT ON revocation BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
    };
    store.transact(lose).await.unwrap();
    let failed = node.sessions.log_out(&tokens.access, Scope::This).await;
    assert!(matches!(failed, Err(SessionError::Failed(_))), "{failed:?}");
    assert_eq!(node.refusal(&tokens.access), None, "a revocation that is not durable is in no index");
}
