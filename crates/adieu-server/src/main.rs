//! The adieu server.

fn main() {}
