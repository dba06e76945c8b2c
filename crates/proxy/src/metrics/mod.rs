//! Metrics for Prometheus and its like: `GET /metrics` over HTTP, to this host alone.
//!
//! They are what the control socket's status says, in OpenMetrics: no address, no session id.

mod families;
mod http;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bip324_config::Metrics;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::stats::Overview;
use crate::{listen, unix_listener};
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
pub async fn serve(listener: Listener, overview: Overview) -> io::Result<()> {
    let families = Arc::new(Families::new(overview));
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            info!("metrics at http://{}/metrics", listener.local_addr()?);
            loop {
                // Those for whom there is no place wait in the kernel.
                let place = Arc::clone(&places).acquire_owned().await;
                if let Some((stream, _)) = accepted(listener.accept().await).await {
                    start(stream, Hosts::OfThisHost, &families, place.ok());
                }
            }
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            info!("metrics at a Unix socket");
            loop {
                let place = Arc::clone(&places).acquire_owned().await;
                if let Some((stream, _)) = accepted(listener.accept().await).await {
                    start(stream, Hosts::Any, &families, place.ok());
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

/// Answers one request, within a time that a reader who is stuck cannot stretch.
fn start<S>(stream: S, hosts: Hosts, families: &Arc<Families>, place: Option<OwnedSemaphorePermit>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let families = Arc::clone(families);
    tokio::spawn(async move {
        let answered = timeout(LONGEST, http::answer(stream, hosts, || families.text())).await;
        match answered {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("nobody takes the metrics: {error}"),
            Err(_) => debug!("who asked for metrics took too long"),
        }
        drop(place);
    });
}

/// At a time.
const MOST_CONNECTIONS: usize = 8;

/// From accept to close.
const LONGEST: Duration = Duration::from_secs(5);

const BACKOFF: Duration = Duration::from_secs(1);
