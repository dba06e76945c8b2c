//! All that the daemon says of itself as a whole.

use std::net::SocketAddr;
use std::sync::Arc;

use bip324_control::{ByKind, Limits, Status};

use super::totals::of_kind;
use super::{Stats, lock};
use crate::config::Current;

/// The counters, and what they are to be seen beside.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What is counted.
    pub stats: Arc<Stats>,
    /// What holds now.
    pub config: Current,
    /// The addresses that the daemon listens on.
    pub listeners: Vec<SocketAddr>,
}

impl Overview {
    /// What holds now.
    pub fn status(&self) -> Status {
        let (stats, config) = (&*self.stats, Arc::clone(&self.config.borrow()));
        let refused = lock(&stats.refused).clone();
        let refused = refused.into_iter().map(|(reason, count)| (reason.name().to_owned(), count));
        let sessions = lock(&stats.sessions);
        let (served, handshakes) = (sessions.served, sessions.handshakes.report());
        let (mut totals, mut now) = (sessions.ended.clone(), ByKind::default());
        let live: Vec<_> = sessions.live.values().cloned().collect();
        drop(sessions);
        for live in live {
            *of_kind(&mut now, live.beginning.kind) += 1;
            totals.add(&live);
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: u64::try_from(stats.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            listeners: self.listeners.clone(),
            fallback: config.fallback.to_string(),
            sessions: now,
            served,
            accepted: stats.accepted(),
            accept_failures: stats.accept_failures(),
            canaries: stats.canaries(),
            refused: refused.collect(),
            panics: stats.panics(),
            handshakes,
            traffic: totals.report(),
            memory: stats.memory() as u64,
            limits: Limits {
                max_sessions: config.max_sessions as u64,
                max_memory: config.max_memory as u64,
            },
        }
    }
}
