//! Setup.
fn main() {}
