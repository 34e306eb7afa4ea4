#![doc = include_str!("../docs/coming-from-flask-jwt-extended.md")]
