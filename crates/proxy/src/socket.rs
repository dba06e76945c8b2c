//! What every socket of a session has in common: options, reads, writes, and the ways to end it.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep};

use crate::config::Timeouts;
use crate::memory::{Buffer, Exhausted};

/// Opens connections to peers.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `to`. The caller bounds the time; dropping the future gives the attempt up.
    fn dial(&self, to: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

/// Dials as the kernel's routing says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Dial for Tcp {
    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }
}

/// Why nothing was read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

/// Sends small messages at once, as Bitcoin Core does, and finds out when the other end is gone.
pub(crate) fn prepare(stream: &TcpStream, timeouts: &Timeouts) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(timeouts.keepalive_idle)
        .with_interval(timeouts.keepalive_interval)
        .with_retries(timeouts.keepalive_probes);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(timeouts.user_timeout))
}

/// From now on closing the socket resets the connection, whoever drops it and why.
pub(crate) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// From now on closing the socket sends what is written, then FIN.
pub(crate) fn finish_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(None)
}

/// Sends FIN after everything written; reading goes on.
pub(crate) fn finish_writing(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // The other end is already gone: reading will tell.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// Makes closing the socket a reset, once the other end has been sent everything written or
/// `patience` is over: a reset discards what still waits to be sent.
pub(crate) async fn reset_when_sent(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    // With this mark the socket is writable only while no written byte waits to be sent.
    SockRef::from(stream).set_tcp_notsent_lowat(1)?;
    let end = Instant::now() + patience;
    while Instant::now() < end && !is_writable(stream)? {
        sleep(SENT_CHECK).await;
    }
    reset_on_close(stream)
}

/// Waits for bytes and appends them to `buffer`, into the capacity that it has. Gives it `room` more
/// when less than half of that is left. Returns 0 at the end of the stream. Cancel-safe.
pub(crate) async fn read_some(
    stream: &TcpStream,
    buffer: &mut Buffer,
    room: usize,
) -> Result<usize, ReadError> {
    loop {
        stream.readable().await?;
        consume_budget().await;
        if let Some(read) = read_now(stream, buffer, room)? {
            return Ok(read);
        }
    }
}

/// As [`read_some`], but returns `None` rather than wait.
pub(crate) fn read_now(
    stream: &TcpStream,
    buffer: &mut Buffer,
    room: usize,
) -> Result<Option<usize>, ReadError> {
    if buffer.room() < room.div_ceil(2) {
        buffer.reserve(room)?;
    }
    match buffer.append(|bytes| stream.try_read_buf(bytes)) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Waits for room and writes what fits of `bytes`. Cancel-safe: cancelled, it has written nothing.
pub(crate) async fn write_some(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        stream.writable().await?;
        consume_budget().await;
        match stream.try_write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes`. Not cancel-safe: cancelled, it has written an unknown part.
pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = write_some(stream, bytes).await?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn is_writable(stream: &TcpStream) -> io::Result<bool> {
    let mut set = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    Ok(poll(&mut set, PollTimeout::ZERO)? > 0)
}

/// Between looks at whether everything has been sent.
const SENT_CHECK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn a_reset_waits_until_everything_is_sent() {
        let (near, mut far) = pair().await;
        // More than the receive buffer takes without being read.
        let written = {
            let mut written = 0;
            while let Ok(n) = near.try_write(&[7; 65536]) {
                written += n;
            }
            written
        };
        let reader = tokio::spawn(async move {
            let mut received = vec![0; written];
            far.read_exact(&mut received).await.unwrap();
            far.read(&mut [0]).await.unwrap_err().kind()
        });
        reset_when_sent(&near, Duration::from_secs(5)).await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reset_does_not_wait_for_ever() {
        let (near, mut far) = pair().await;
        while near.try_write(&[7; 65536]).is_ok() {}
        reset_when_sent(&near, Duration::from_millis(50)).await.unwrap();
        drop(near);
        let mut received = Vec::new();
        let error = far.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn options_reach_the_kernel() {
        let (near, _far) = pair().await;
        let timeouts = Timeouts::default();
        prepare(&near, &timeouts).unwrap();
        let socket = SockRef::from(&near);
        assert!(near.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), timeouts.keepalive_idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), timeouts.keepalive_interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), timeouts.keepalive_probes);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(timeouts.user_timeout));
    }
}
