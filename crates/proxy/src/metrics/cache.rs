//! The text as it was a moment ago: to make it takes a look at every session, and anybody may ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The last text, and when it was made.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<(Instant, Arc<str>)>>);

impl Cache {
    /// The last text, or a new one where that is too old.
    pub(super) fn text(&self, make: impl FnOnce() -> String) -> Arc<str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*last {
            Some((made, text)) if now.saturating_duration_since(*made) < LIFETIME => {
                Arc::clone(text)
            }
            _ => Arc::clone(&last.insert((now, make().into())).1),
        }
    }
}

const LIFETIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_text_is_made_once_a_second() {
        let cache = Cache::default();
        let text = |made: &str| cache.text(|| made.to_owned());
        assert_eq!(&*text("first"), "first");
        advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(&*text("second"), "first");
        advance(Duration::from_millis(1)).await;
        assert_eq!(&*text("third"), "third");
        assert_eq!(&*text("fourth"), "third");
    }
}
