//! Starts the servers that the tests share, says where they are as lines for a shell, and ends them when its standard input
//! ends or it does.
#![allow(clippy::print_stdout)]

use std::io::Read;

use test_servers::{POSTGRES_URL, Postgres, REDIS_URL, Redis};

#[tokio::main]
async fn main() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    println!("{POSTGRES_URL}={}", postgres.url());
    println!("{REDIS_URL}={}", redis.url());
    // An error is an end as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
