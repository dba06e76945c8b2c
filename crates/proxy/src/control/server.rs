//! Accepting connections to the control socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bip324_control::{Code, line};
use socket2::SockRef;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::answer::{Subject, refusal};
use super::caller::Caller;
use super::connection;
use super::listen::Opened;
use crate::log::Level;
use crate::quota::{Place, Quota};
use crate::stats::Overview;

/// Begins to answer what is asked through the socket. Aborting the task closes every connection.
///
/// # Errors
/// The runtime does not take the socket.
pub fn start(opened: Opened, overview: Overview, level: Level) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::from_std(opened.listener)?;
    Ok(tokio::spawn(serve(listener, opened.uid, overview, level)))
}

async fn serve(listener: UnixListener, own: u32, overview: Overview, level: Level) {
    let subject = Arc::new(Subject { overview, level });
    let places = Places::default();
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, _)| Ok((Caller::of(&stream, own)?, stream))) {
            Ok((caller, stream)) => {
                failing = false;
                let Some(place) = places.take(caller) else {
                    refuse(&stream);
                    continue;
                };
                let subject = Arc::clone(&subject);
                connections.spawn(async move {
                    connection::run(stream, caller, &subject).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!("the control socket takes no connections, trying again: {error}");
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// In one line, which a new connection always takes. Not through the runtime, which does not know yet
/// that it does.
fn refuse(stream: &UnixStream) {
    let message = "as many connections as there may be: close one, or try again later".to_owned();
    let line = line(&refusal(Code::Busy, message)).map_err(io::Error::from);
    if let Err(error) = line.and_then(|line| SockRef::from(stream).send(&line)) {
        debug!("a connection to the control socket broke: {error}");
    }
}

/// The connections that there may be at a time: some of them for each user, and some for those who may
/// do more, whatever the others do.
struct Places {
    privileged: Arc<Semaphore>,
    others: Arc<Semaphore>,
    each: Arc<Quota>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            privileged: Arc::new(Semaphore::new(PRIVILEGED)),
            others: Arc::new(Semaphore::new(OTHERS)),
            each: Arc::default(),
        }
    }
}

impl Places {
    fn take(&self, caller: Caller) -> Option<(OwnedSemaphorePermit, Option<Place>)> {
        let all = if caller.privileged { &self.privileged } else { &self.others };
        let permit = Arc::clone(all).try_acquire_owned().ok()?;
        let place =
            if caller.privileged { None } else { Some(self.each.take(Some(caller.uid), EACH)?) };
        Some((permit, place))
    }
}

/// Connections of root and the daemon's own user.
const PRIVILEGED: usize = 16;

/// Connections of all others.
const OTHERS: usize = 48;

/// Of these, of each user.
const EACH: usize = 12;

/// After accept(2) has failed: the system lacks descriptors or memory.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn caller(uid: u32) -> Caller {
        Caller { uid, privileged: uid == 0 }
    }

    #[test]
    fn nobody_takes_the_connections_of_others() {
        let places = Places::default();
        let take = |uid| places.take(caller(uid));
        let mut taken: Vec<_> = (0..EACH).map(|_| take(1000).unwrap()).collect();
        assert!(take(1000).is_none());
        taken.extend(
            (1001..1004).flat_map(|uid| (0..EACH).map(move |_| uid)).map(|uid| take(uid).unwrap()),
        );
        assert!(take(1004).is_none(), "they have all that is theirs");
        let _root: Vec<_> = (0..PRIVILEGED).map(|_| take(0).unwrap()).collect();
        assert!(take(0).is_none());
        drop(taken.remove(0));
        assert!(take(1000).is_some());
    }
}
