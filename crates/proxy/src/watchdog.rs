//! Proof that every accept loop turns: a token that each passes on to the next. Where one hangs, it
//! does not come back, and the service manager is told nothing until it loses its patience.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

/// A place in the ring.
#[derive(Debug)]
pub(crate) struct Link {
    before: Receiver<()>,
    after: Sender<()>,
}

/// A ring of a watcher and so many loops.
pub(crate) fn ring(loops: usize) -> (Link, Vec<Link>) {
    let (first, mut before) = mpsc::channel(1);
    let mut links = Vec::new();
    for _ in 0..loops {
        let (after, next) = mpsc::channel(1);
        links.push(Link { before, after });
        before = next;
    }
    (Link { before, after: first }, links)
}

impl Link {
    /// Waits for the token and passes it on. Cancel-safe.
    pub(crate) async fn turn(&mut self) {
        match self.before.recv().await {
            // There is one token, and room for it.
            Some(()) => {
                let _ = self.after.try_send(());
            }
            None => pending().await,
        }
    }

    /// Sends the token round, waits for it, and calls `alive`; then again after `period`. Does
    /// nothing if there is none.
    pub(crate) async fn watch(mut self, period: Option<Duration>, alive: impl Fn()) {
        let Some(period) = period else {
            return pending().await;
        };
        loop {
            let _ = self.after.try_send(());
            match self.before.recv().await {
                Some(()) => alive(),
                None => pending().await,
            }
            sleep(period).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use tokio::time::advance;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    /// What is counted after some periods, with this many of three loops turning.
    async fn rounds(turning: usize) -> u32 {
        let (watcher, links) = ring(3);
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(watcher.watch(Some(PERIOD), move || {
            counted.fetch_add(1, SeqCst);
        }));
        let mut hanging = Vec::new();
        for (number, mut link) in links.into_iter().enumerate() {
            if number < turning {
                tokio::spawn(async move {
                    loop {
                        link.turn().await;
                    }
                });
            } else {
                hanging.push(link);
            }
        }
        for _ in 0..10 {
            advance(PERIOD / 2).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        count.load(SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_comes_back_once_a_period_while_all_loops_turn() {
        assert!((5..=6).contains(&rounds(3).await));
    }

    #[tokio::test(start_paused = true)]
    async fn one_loop_that_hangs_keeps_the_token() {
        assert_eq!(rounds(2).await, 0);
    }
}
