//! Network namespaces, the real daemon, real nodes and real clients for the tests of the whole path.
//!
//! Everything is made by a test for itself and removed when dropped, so tests run side by side.
//! What the machine lacks makes a test fail and say what to run.

pub mod activation;
pub mod browser;
pub mod capture;
pub mod clients;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod echo;
pub mod figures;
pub mod hammer;
pub mod identity;
pub mod lab;
pub mod namespace;
pub mod node;
pub mod peer;
pub mod picture;
pub mod plaintext;
pub mod prerequisite;
pub mod process;
pub mod rpc;
pub mod rules;
pub mod supervisor;
pub mod tmux;
pub mod v1;
pub mod vitals;
pub mod wait;
pub mod wiretap;
