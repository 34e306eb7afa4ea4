//! The nodes that share a Redis server.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Redis, codec, connection::Ask, durability::incarnation, invalid};
use adieu::{
    Error,
    revocation::LogId,
    store::{Members, Membership, NodeStatus},
    time::ceil_millis,
};

/// The stored state of a node. Its id is the field of the hash; its heartbeat precedes the JSON.
#[derive(Serialize, Deserialize)]
struct Kept {
    settled: Option<String>,
    followers: u32,
    unbounded: u32,
    max_staleness: u64,
}

#[async_trait]
impl Membership for Redis {
    async fn publish(&self, status: &NodeStatus) -> Result<LogId, Error> {
        let mut script = self.shared.scripts.publish.prepare_invoke();
        script.key(&self.shared.keys.nodes).key(&self.shared.keys.state);
        script.arg(&status.node).arg(to_text(status)?).arg(LogId::random().as_str());
        let (log, incarnation): (String, String) = self.write(Ask::Script(&script)).await?;
        codec::lineage(&log, &incarnation)
    }

    async fn members(&self) -> Result<Members, Error> {
        // The server runs these in order: the identity is the one from before the nodes are read.
        let mut all = redis::pipe();
        all.cmd("INFO").arg("server");
        all.cmd("INFO").arg("replication");
        all.cmd("HGET").arg(&self.shared.keys.state).arg("log");
        all.cmd("HGETALL").arg(&self.shared.keys.nodes);
        let (log, incarnation, nodes) = loop {
            let (server, replication, log, nodes): (String, String, Option<String>, HashMap<String, String>) =
                self.read(&all).await?;
            let incarnation = incarnation(&server, &replication).inspect_err(|_| self.forget_connections())?;
            match log {
                Some(log) => break (log, incarnation, nodes),
                None => self.draw_identity().await?,
            }
        };
        let mut nodes = nodes.into_iter().collect::<Vec<_>>();
        nodes.sort();
        let nodes = nodes.into_iter().map(|(node, text)| from_text(node, &text).ok_or_else(|| invalid("a node")));
        Ok(Members { lineage: codec::lineage(&log, &incarnation)?, nodes: nodes.collect::<Result<_, _>>()? })
    }

    async fn suspect(&self, node: &str, heartbeat: u64) -> Result<(), Error> {
        let mut script = self.shared.scripts.suspect_node.prepare_invoke();
        script.key(&self.shared.keys.nodes).arg(node).arg(format!("{heartbeat} "));
        self.write(Ask::Script(&script)).await
    }

    async fn forget(&self, node: &str, heartbeat: u64) -> Result<(), Error> {
        let mut script = self.shared.scripts.forget_node.prepare_invoke();
        script.key(&self.shared.keys.nodes).arg(node).arg(format!("{heartbeat} "));
        self.write(Ask::Script(&script)).await
    }
}

fn to_text(status: &NodeStatus) -> Result<String, Error> {
    let kept = Kept {
        settled: status.applied.as_ref().map(ToString::to_string),
        followers: status.followers,
        unbounded: status.unbounded,
        max_staleness: ceil_millis(status.max_staleness),
    };
    let json = serde_json::to_string(&kept).map_err(Error::unavailable)?;
    Ok(format!("{} {json}", status.heartbeat))
}

fn from_text(node: String, text: &str) -> Option<NodeStatus> {
    let (heartbeat, json) = text.split_once(' ')?;
    let kept: Kept = serde_json::from_str(json).ok()?;
    Some(NodeStatus {
        node,
        heartbeat: heartbeat.parse().ok()?,
        applied: kept.settled.map(|cursor| cursor.parse()).transpose().ok()?,
        followers: kept.followers,
        unbounded: kept.unbounded,
        max_staleness: Duration::from_millis(kept.max_staleness),
    })
}
