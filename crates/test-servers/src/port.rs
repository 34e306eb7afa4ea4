//! Free ports.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
};

/// Below what systems give to outgoing connections, so that a server that is stopped finds its port free when it starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that no other test gets as long as this is kept, also while nobody listens there.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Locked. Files that are opened here are not inherited by servers.
    _claim: File,
}

impl Port {
    pub(crate) fn find() -> Self {
        let claims = std::env::temp_dir().join("adieu-test-ports");
        std::fs::create_dir_all(&claims).expect("a folder for claims of ports");
        for _ in 0..1_000 {
            let number = fastrand::u16(PORTS);
            let claim = File::create(claims.join(number.to_string())).expect("a claim of a port");
            if claim.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
        panic!("no free port between {} and {}", PORTS.start, PORTS.end);
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
