//! `bip324ctl web`: the dashboard as a page in a browser, for those who have its address.
//!
//! A process of its own, with the rights of who starts it: it shows what this user may see, and
//! changes nothing.

mod feed;
mod gate;
mod page;
mod recent;
mod server;
mod world;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use feed::Feed;
use gate::Gate;

use crate::cli::Web;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--listen` without `--i-know`.
    #[error(
        "{0} can be reached by other machines, and what goes there is not encrypted: listen on a \
         loopback address and come by `ssh -L {port}:{0}`, or add --i-know", port = .0.port()
    )]
    Exposed(SocketAddr),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// No random bytes.
    #[error("cannot make a token: /dev/urandom: {0}")]
    Token(io::Error),
    /// `--url-file`.
    #[error("cannot write the page's address to {}: {}", .0.display(), .1)]
    UrlFile(PathBuf, io::Error),
    /// Anything else of the system.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Serves the page until a signal ends it.
///
/// # Errors
/// Why there is no page. A daemon that is not there is none: the page says so, and waits for it.
pub async fn run(socket: &Path, arguments: &Web) -> Result<(), Error> {
    let (listener, gate) = open(arguments).await?;
    let url = gate.url();
    // Nobody may read it there: that is no reason to end.
    let _ = writeln!(io::stdout(), "{url}");
    if let Some(path) = &arguments.url_file {
        write_url(path, &url).map_err(|error| Error::UrlFile(path.clone(), error))?;
    }
    let feed = Arc::new(Feed::default());
    let mut end = signal(SignalKind::terminate())?;
    tokio::select! {
        () = feed::follow(&feed, socket) => {}
        () = feed::watch_rules(&feed) => {}
        () = server::serve(listener, gate, Arc::clone(&feed), socket.to_owned()) => {}
        _ = end.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

async fn open(arguments: &Web) -> Result<(TcpListener, Gate), Error> {
    let Web { listen, i_know, .. } = *arguments;
    if !listen.ip().is_loopback() && !i_know {
        return Err(Error::Exposed(listen));
    }
    let cannot = |error| Error::Listen(listen, error);
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    // With the port that the kernel chose, where it was left to it.
    let listen = listener.local_addr().map_err(cannot)?;
    Ok((listener, Gate::new(listen, token().map_err(Error::Token)?)))
}

/// 128 random bits in hexadecimal.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.concat())
}

/// Replaces the file by one that the user and the group of this process can read, and nobody else.
fn write_url(path: &Path, url: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    writeln!(file, "{url}")
}
