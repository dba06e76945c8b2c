//! Requests, a line each.

use std::io;

use bip324_control::MAX_REQUEST;
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::sleep;

use super::connection::PACE;

/// Reads lines, and keeps no more than one of the longest.
pub(super) struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
    /// Of the line that was taken last.
    taken: usize,
}

/// What came.
pub(super) enum Line<'a> {
    /// A line with its newline, or what stands before the end without one.
    Whole(&'a [u8]),
    /// More than a line may have.
    TooLong,
    /// Nothing more.
    End,
}

impl Reader {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: Vec::with_capacity(MAX_REQUEST), taken: 0 }
    }

    pub(super) async fn line(&mut self) -> io::Result<Line<'_>> {
        self.buffer.drain(..std::mem::take(&mut self.taken).min(self.buffer.len()));
        let mut searched = 0;
        loop {
            let unsearched = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') {
                self.taken = searched + at + 1;
                break;
            }
            searched = self.buffer.len();
            if searched >= MAX_REQUEST {
                return Ok(Line::TooLong);
            }
            let room = (MAX_REQUEST - searched) as u64;
            if (&mut self.stream).take(room).read_buf(&mut self.buffer).await? == 0 {
                self.taken = searched;
                break;
            }
        }
        match self.buffer.get(..self.taken) {
            Some(line @ [_, ..]) => Ok(Line::Whole(line)),
            _ => Ok(Line::End),
        }
    }

    /// Reads on until the end of the stream, at a bounded rate, and forgets what comes. Cancel-safe.
    pub(super) async fn end(&mut self) {
        loop {
            self.buffer.clear();
            match (&mut self.stream).take(MAX_REQUEST as u64).read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => sleep(PACE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::time::Instant;

    use super::*;

    /// The clock moves only while both wait.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_read_at_a_bounded_rate() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut reader = Reader::new(near.into_split().0);
        let start = Instant::now();
        let flood = async move {
            far.write_all(&vec![b'x'; 100 * MAX_REQUEST]).await.unwrap();
        };
        tokio::join!(flood, reader.end());
        assert!(start.elapsed() >= PACE * 100, "{:?}", start.elapsed());
    }
}
