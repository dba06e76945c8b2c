//! Metrics for Prometheus and its like: `GET /metrics` over HTTP, to this host alone.
//!
//! They are what the control socket's status says, in OpenMetrics: no address, no session id.

mod cache;
mod families;
mod http;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bip324_config::Metrics;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::quota::{OwnerOf, Place, Quota};
use crate::stats::Overview;
use crate::{listen, unix_listener};
use cache::Cache;
use families::Families;
use http::Hosts;

/// Where metrics are asked for.
#[derive(Debug)]
pub enum Listener {
    /// By every user of this host.
    Tcp(std::net::TcpListener),
    /// By the daemon's group.
    Unix(std::os::unix::net::UnixListener),
}

/// They cannot be asked for there.
#[derive(Debug, Error)]
pub enum Error {
    /// At the address.
    #[error("metrics: {0}")]
    Tcp(#[from] listen::Error),
    /// At the path.
    #[error("metrics: {0}")]
    Unix(#[from] unix_listener::Error),
}

/// Listens where `metrics` says. Must come before the sandbox, which allows no listener.
///
/// # Errors
/// Nobody can listen there.
pub fn open(metrics: &Metrics) -> Result<Option<Listener>, Error> {
    Ok(match metrics {
        Metrics::Off => None,
        Metrics::Tcp(address) => listen::bind(&[*address])?.pop().map(Listener::Tcp),
        Metrics::Unix(path) => Some(Listener::Unix(unix_listener::bind(path)?)),
    })
}

/// Answers whoever asks, for as long as it is polled.
///
/// # Errors
/// The runtime does not take the listener.
pub async fn serve(listener: Listener, overview: Overview, owner_of: OwnerOf) -> io::Result<()> {
    let server = Server::new(overview);
    match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            let ours = listener.local_addr()?;
            info!("metrics at http://{ours}/metrics");
            loop {
                let place = server.place().await;
                if let Some((stream, client)) = accepted(listener.accept().await).await {
                    let owner = owner_of(client, ours);
                    server.start(stream, owner, Hosts::OfThisHost, place);
                }
            }
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            info!("metrics at a Unix socket");
            loop {
                let place = server.place().await;
                if let Some((stream, _)) = accepted(listener.accept().await).await {
                    let owner = stream.peer_cred().ok().map(|owner| owner.uid());
                    server.start(stream, owner, Hosts::Any, place);
                }
            }
        }
    }
}

/// A lack of descriptors or memory passes; the sessions' listeners say so in the log.
async fn accepted<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(stream) => Some(stream),
        Err(error) => {
            debug!("cannot accept who asks for metrics: {error}");
            sleep(BACKOFF).await;
            None
        }
    }
}

/// What all connections share.
struct Server {
    text: Arc<(Families, Cache)>,
    places: Arc<Semaphore>,
    each: Arc<Quota>,
}

impl Server {
    fn new(overview: Overview) -> Self {
        let text = Arc::new((Families::new(overview), Cache::default()));
        Self { text, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)), each: Arc::default() }
    }

    /// Those for whom there is none wait in the kernel.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Answers one request of `owner`, who keeps the place for a moment longer: that is all the pace
    /// there is.
    fn start<S>(
        &self,
        stream: S,
        owner: Option<u32>,
        hosts: Hosts,
        place: Option<OwnedSemaphorePermit>,
    ) where
        S: AsFd + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(one_of_few) = self.each.take(owner, OF_EACH_USER) else {
            return http::refuse(&stream);
        };
        let text = Arc::clone(&self.text);
        tokio::spawn(async move {
            let (families, cache) = &*text;
            if let Err(error) = answer(stream, hosts, || cache.text(|| families.text())).await {
                debug!("nobody takes the metrics: {error}");
            }
            sleep(PACE).await;
            // In this order: whoever is accepted next may be the same user.
            drop::<Place>(one_of_few);
            drop(place);
        });
    }
}

/// Within times that one who is stuck cannot stretch.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    hosts: Hosts,
    text: impl FnOnce() -> Arc<str>,
) -> io::Result<()> {
    let request = timeout(LONGEST_REQUEST, http::request(&mut stream)).await??;
    timeout(LONGEST_ANSWER, http::answer(stream, &request, hosts, text)).await?
}

/// At a time.
const MOST_CONNECTIONS: usize = 8;

/// Of these.
const OF_EACH_USER: usize = 2;

/// Until its head is there. Prometheus gives up after 10 s, in which as many turns have to be over.
const LONGEST_REQUEST: Duration = Duration::from_secs(1);

/// Until it is read and the connection closed.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// From the end of a connection until its place is another's: 20 answers a second for each user.
const PACE: Duration = Duration::from_millis(100);

const BACKOFF: Duration = Duration::from_secs(1);
