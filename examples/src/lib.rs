//! Nothing here: every story is an example of its own. Try `cargo run --example quickstart`.
