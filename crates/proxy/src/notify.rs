//! Tells the service manager how things are: sd_notify(3). Without one nobody is told.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The listeners are open: connections are served from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The configuration is read again.
pub fn reloading() {
    // Without the time systemd would not take it for the beginning of a reload.
    let now = NotifyState::monotonic_usec_now();
    tell_all(now.map(|now| vec![NotifyState::Reloading, now]));
}

/// That is done, and this is what came of it.
pub fn reloaded(status: &str) {
    tell_all(Ok(vec![NotifyState::Ready, NotifyState::Status(status)]));
}

/// No connection is accepted any more.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Every accept loop turns.
pub(crate) fn alive() {
    tell(NotifyState::Watchdog);
}

/// How often [`Config::watchdog`](crate::Config::watchdog) is to be: often enough that one more
/// round than expected does no harm. `None` where the service manager does not watch.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 3)
}

fn tell(state: NotifyState<'_>) {
    tell_all(Ok(vec![state]));
}

fn tell_all(states: io::Result<Vec<NotifyState<'_>>>) {
    if let Err(error) = states.and_then(|states| sd_notify::notify(&states)) {
        warn!("the service manager does not listen: {error}");
    }
}
