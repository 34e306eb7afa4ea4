//! A process that verifies: the parts of `adieu_client::Service`, except the keys, which would have to be public ones and take most of
//! the time of thousands of schedules.

use std::{collections::HashSet, sync::Arc};

use adieu::{
    revocation::{Follower, Index},
    time::Clock,
    token::{Algorithm, Decoder, KeySet, Rules, StalePolicy, Verifier, VerifyingKey},
};
use adieu_client::{Remote, transport::Transport};

use super::{MachineClock, network::Process};
use crate::support::{MAX_STALENESS, issuer};

pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes, at least";

pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) remote: Arc<Remote>,
    pub(crate) verifier: Verifier,
    /// The tokens that it has rejected as revoked since its last start.
    pub(crate) seen_revoked: HashSet<usize>,
    transport: Arc<dyn Transport>,
    clock: MachineClock,
    #[expect(dead_code, reason = "follows for as long as this is there")]
    follower: Follower,
}

impl Service {
    pub(crate) fn start(name: String, process: Process, transport: Arc<dyn Transport>, clock: MachineClock) -> Self {
        let remote = Remote::builder("https://node.test", "service", "secret".into())
            .with_max_staleness(MAX_STALENESS)
            .with_transport(Arc::clone(&transport))
            .with_clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        let remote = Arc::new(remote);
        let machine: Arc<dyn Clock> = Arc::new(clock.clone());
        let index = Arc::new(Index::new(machine.now()));
        let follower = Follower::start(remote.clone(), Arc::clone(&index), Arc::clone(&machine), MAX_STALENESS);
        let key = VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap();
        let verifier = Verifier::new(
            Decoder::new(Rules::new(issuer()), KeySet::new([key]).unwrap()),
            index,
            follower.freshness(),
            machine,
            MAX_STALENESS,
            StalePolicy::Reject,
        );
        Self { name, process, remote, verifier, seen_revoked: HashSet::new(), transport, clock, follower }
    }

    /// Restarts the process, which forgets everything.
    pub(crate) fn restart(&mut self) {
        *self = Self::start(
            std::mem::take(&mut self.name),
            self.process.clone(),
            Arc::clone(&self.transport),
            self.clock.clone(),
        );
    }
}
