//! Tells the service manager how things are: sd_notify(3). Without one nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The listeners are open: connections are served from now on.
pub fn ready() {
    tell(NotifyState::Ready);
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
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("the service manager does not listen: {error}");
    }
}
