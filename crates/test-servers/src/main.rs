//! Starts the servers that the tests share, prints their URLs as lines for a shell, and stops them when its standard input
//! closes or the process ends.
#![allow(clippy::print_stdout)]

use std::io::Read;

use test_servers::{POSTGRES_URL, Postgres, REDIS_URL, Redis};

#[tokio::main]
async fn main() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    println!("{POSTGRES_URL}={}", postgres.url());
    println!("{REDIS_URL}={}", redis.url());
    // An error counts as the end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
