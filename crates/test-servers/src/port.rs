//! Free ports.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
};

/// Below the ports for outgoing connections, so that a stopped server finds its port free when it starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that no other test gets while this value lives, even while no process listens on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked. Servers do not inherit files that are opened here.
    _claim: File,
}

impl Port {
    /// Finds a free port.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn find() -> Self {
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

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
