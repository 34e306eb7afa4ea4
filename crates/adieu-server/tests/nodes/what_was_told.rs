//! After a client was told that a token is revoked, the token is rejected, whatever fails right after. That holds even if its session
//! and its revocation were both lost, so that the engine held neither when it was asked.

use reqwest::Method;
use test_servers::adieu::Tokens;

use crate::{
    outages::{Engine, Fault},
    three_nodes::nodes_on,
};

/// The calls that report the revocation.
const WAYS: [(&str, Shown); 7] = [
    ("/logout", Shown::Access),
    ("/logout", Shown::Refresh),
    ("/logout?scope=all", Shown::Access),
    ("/logout?scope=all", Shown::Refresh),
    ("/logout?scope=others", Shown::Access),
    ("/logout?wait=everywhere", Shown::Access),
    ("/refresh", Shown::Refresh),
];

#[derive(Debug, Clone, Copy)]
enum Shown {
    Access,
    Refresh,
}

impl Engine {
    /// Deletes all sessions, as a copy from before the logins or a standby without them would.
    async fn lose_sessions(&self) {
        match self {
            Self::Postgres(server) => drop(server.sql("DELETE FROM adieu.session").await),
            Self::Redis(server) => {
                let keys = ["sessions", "ids", "subjects", "refreshed", "access", "expiry"];
                let keys = keys.map(|key| format!("{{adieu}}:{key}"));
                let command: Vec<&str> = ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
                let removed = server.command(&command).await;
                assert_eq!(removed.trim(), ":6", "all there is of sessions");
            }
        }
    }
}

async fn it_holds_on(mut engine: Engine) {
    let mut nodes = nodes_on(engine.settings(), 2, &[]).await;
    for (path, shown) in WAYS {
        let [node, other] = &mut nodes[..] else { panic!() };
        let Tokens { access, refresh } = node.log_in_for_both("jose").await;
        engine.lose_sessions().await;
        assert_eq!(node.verify(&access).await.0, 204, "{path}: nothing says that it has ended");

        let token = match shown {
            Shown::Access => &access,
            Shown::Refresh => &refresh,
        };
        let (status, told) = node.ask(Method::POST, path, Some(token), None).await;
        engine.fail(Fault::Killed).await;
        node.kill();
        assert_eq!((status, &told["error"]), (401, &"token_revoked".into()), "{path} {shown:?}: {told}");

        engine.recover(Fault::Killed).await;
        node.start_again(|_| ()).await;
        assert_eq!(node.verify(&access).await, (401, "token_revoked".to_owned()), "{path} {shown:?}");
        other.becomes("informed", async || other.verify(&access).await == (401, "token_revoked".to_owned())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_kept_by_postgres() {
    it_holds_on(Engine::Postgres(test_servers::Postgres::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_kept_by_redis() {
    it_holds_on(Engine::Redis(test_servers::Redis::start().await)).await;
}
