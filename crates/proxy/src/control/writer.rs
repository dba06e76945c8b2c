//! Answers and events, a line each, to a reader who is given little time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bip324_control::{Session, line};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;

use crate::stats::Live;

/// Writes lines. An error is the end of the connection: half a line may be written.
pub(super) struct Writer(OwnedWriteHalf);

impl Writer {
    pub(super) const fn new(stream: OwnedWriteHalf) -> Self {
        Self(stream)
    }

    pub(super) async fn line<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.write(&line(message)?).await
    }

    /// Writes a message whose last field is an empty list of sessions, with these in it. Only a part of
    /// the line is ever held.
    pub(super) async fn list<T: Serialize>(
        &mut self,
        message: &T,
        sessions: &[Arc<Live>],
    ) -> io::Result<()> {
        let mut text = line(message)?;
        let end = text.split_off(text.len().saturating_sub(EMPTY_LIST_END.len()));
        debug_assert_eq!(end, EMPTY_LIST_END, "the list must come last, and be empty");
        for (count, live) in sessions.iter().enumerate() {
            if count > 0 {
                text.push(b',');
            }
            let session: Session = live.report();
            serde_json::to_writer(&mut text, &session)?;
            if text.len() >= PIECE {
                self.write(&text).await?;
                text.clear();
                // The others' turn: there may be thousands.
                tokio::task::yield_now().await;
            }
        }
        text.extend_from_slice(&end);
        self.write(&text).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.0.write_all(bytes)).await?
    }
}

/// How a line ends whose last field is an empty list.
const EMPTY_LIST_END: &[u8] = b"]}\n";

/// Bytes that are written together, at least, of a line of any length.
const PIECE: usize = 32 * 1024;

/// What a reader gets to take as much.
const PATIENCE: Duration = Duration::from_secs(5);
