//! The redirect of bip324-proxy: a plan of nftables rules, the kernel that takes it, and the proof
//! that it works. The program `bip324-setup` is [`cli`] and one function per subcommand; `bip324-run`
//! is [`launch`].

#![deny(unsafe_code)]

pub mod block;
mod canary;
pub mod check;
pub mod cli;
pub mod exit;
pub mod group;
pub mod guard;
pub mod installed;
pub mod keeper;
#[expect(unsafe_code, reason = "libnftnl is a C library, and nftnl wraps only what writes")]
pub mod kernel;
pub mod launch;
pub mod link;
pub mod listener;
pub mod plan;
pub mod privilege;
pub mod standing;
pub mod status;
