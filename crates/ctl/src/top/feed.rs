//! What comes in: the daemon's events, with a new subscription whenever one ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bip324_control::Event;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::state::Message;
use crate::client::{Client, Error, Events, Subscription};
use crate::exit;

/// Subscribes.
///
/// # Errors
/// Why not.
pub(super) async fn subscribe(socket: &Path) -> Result<(Subscription, Events), Error> {
    Client::connect(socket).await?.subscribe(INTERVAL).await
}

/// Passes on events until nobody listens any more; starts with a subscription that stands.
pub(super) async fn run(socket: PathBuf, mut events: Events, out: Sender<Message>) {
    loop {
        let error = pass_on(&mut events, &out).await;
        if out.is_closed() {
            return;
        }
        let Some((subscription, again)) = subscribe_again(&socket, error, &out).await else {
            return;
        };
        events = again;
        if out.send(Message::Subscribed(Box::new(subscription))).await.is_err() {
            return;
        }
    }
}

/// Until the daemon ends it, or nobody listens; none where events were lost and it is to begin anew.
async fn pass_on(events: &mut Events, out: &Sender<Message>) -> Option<Error> {
    loop {
        let event = match events.next().await {
            Ok(Event::Lost { .. }) => return None,
            Ok(event) => event,
            Err(error) => return Some(error),
        };
        if out.send(Message::Event(Box::new(event))).await.is_err() {
            return None;
        }
    }
}

/// Tries until it succeeds, and tells why it has not yet; none where nobody listens any more.
async fn subscribe_again(
    socket: &Path,
    mut error: Option<Error>,
    out: &Sender<Message>,
) -> Option<(Subscription, Events)> {
    loop {
        if let Some(error) = error {
            let why = exit::Error::Client(error).line();
            out.send(Message::Gone(why)).await.ok()?;
            sleep(PAUSE).await;
        }
        match subscribe(socket).await {
            Ok(subscribed) => return Some(subscribed),
            Err(why) => error = Some(why),
        }
    }
}

/// Milliseconds between two looks at the traffic.
const INTERVAL: u64 = 1000;

/// Between two attempts to reach a daemon that is gone.
const PAUSE: Duration = Duration::from_millis(500);
