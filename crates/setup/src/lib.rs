//! The redirect of bip324-proxy: a plan of nftables rules, the kernel that takes it, and the proof
//! that it works. The program `bip324-setup` is [`cli`] and one function per subcommand.

#![deny(unsafe_code)]

pub mod check;
pub mod cli;
pub mod exit;
pub mod group;
pub mod installed;
#[expect(unsafe_code, reason = "libnftnl is a C library, and nftnl wraps only what writes")]
pub mod kernel;
pub mod link;
pub mod listener;
pub mod plan;
pub mod privilege;
pub mod status;
