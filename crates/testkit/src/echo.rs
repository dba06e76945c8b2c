//! A peer for thousands of clients: it sends every message back, over v2 or, to whoever speaks it, v1.

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use bip324_transport::v1::Magic;
use bip324_transport::v2::{Detection, KEY_LEN, KeyExchange, Role, V1_PREFIX_LEN, detect};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::lab::Lab;
use crate::namespace::Family;

/// A running echo peer on both addresses of the peer's namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Listens on `ports`.
    ///
    /// # Errors
    ///
    /// Where somebody listens there already.
    pub fn start(lab: &Lab, magic: Magic, ports: &[u16]) -> Result<Self> {
        let mut listeners = Vec::new();
        for family in Family::BOTH {
            for port in ports {
                let address = SocketAddr::new(family.peer(), *port);
                listeners.push(lab.peer.run(|| listen(address))?);
            }
        }
        Self::serve(listeners, magic)
    }

    /// Listens on `addresses`, in whatever namespace the caller is.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn here(addresses: &[SocketAddr], magic: Magic) -> Result<Self> {
        let listeners = addresses.iter().map(|address| listen(*address));
        Self::serve(listeners.collect::<Result<_>>()?, magic)
    }

    fn serve(listeners: Vec<TcpListener>, magic: Magic) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(accept(listener, magic));
                }
                // Ended by a value as by the end of the sender.
                let _ = stopped.await;
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into()).with_context(|| address.to_string())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, magic: Magic) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // A client that is gone already, and a lack of descriptors, concern no other client.
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(echo(stream, magic))),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// The connection's end is the client's business, however it comes.
async fn echo(mut stream: TcpStream, magic: Magic) -> Result<()> {
    let mut key = [0; KEY_LEN];
    let (prefix, rest) = key.split_at_mut(V1_PREFIX_LEN);
    stream.read_exact(prefix).await?;
    if detect(magic, prefix) != Detection::V2 {
        stream.write_all(prefix).await?;
        let (mut from, mut to) = stream.split();
        copy(&mut from, &mut to).await?;
        return Ok(());
    }
    stream.read_exact(rest).await?;
    let exchange = KeyExchange::new(Role::Responder, magic)?;
    let mut out = exchange.first_flight();
    let mut session = exchange.complete(&key, &mut out);
    let (mut received, mut messages) = (Vec::with_capacity(READ), Vec::new());
    loop {
        stream.write_all(&out).await?;
        out.clear();
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        let done = session.receiver.translate(&mut received, &mut messages)?.consumed;
        received.drain(..done);
        let done = session.sender.translate(&messages, &mut out)?.consumed;
        messages.drain(..done);
    }
}

/// Room for one read.
const READ: usize = 65536;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
