//! What a subscriber is told, from the list that holds as it begins.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bip324_control::{Answer, Event};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::answer::Subject;
use super::caller::Caller;
use super::reader::Reader;
use super::writer::Writer;
use crate::stats::{Live, News};

/// Tells `caller` of sessions and, every `period`, of traffic, until either side closes.
pub(super) async fn tell(
    subject: &Subject,
    caller: Caller,
    period: Duration,
    reader: &mut Reader,
    writer: &mut Writer,
) -> io::Result<()> {
    // First: what happens while the list is written is told after it.
    let mut news = subject.overview.stats.news();
    let sessions = subject.sessions(caller);
    let mut told = Told(sessions.iter().map(|live| (live.id, live.activity())).collect());
    let (scope, status) = (caller.scope(), Box::new(subject.overview.status()));
    let answer = Answer::Subscribed { scope, status, sessions: Vec::new() };
    writer.list(&answer, &sessions).await?;
    drop((answer, sessions));

    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            news = news.recv() => match news {
                Ok(news) => {
                    if let Some(event) = told.event(news, caller) {
                        writer.line(&event).await?;
                    }
                }
                Err(RecvError::Lagged(events)) => return writer.line(&Event::Lost { events }).await,
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = ticks.tick() => {
                let status = Box::new(subject.overview.status());
                let sessions = told.changed(subject.sessions(caller));
                writer.list(&Event::Traffic { status, sessions: Vec::new() }, &sessions).await?;
            }
            () = reader.end() => return Ok(()),
        }
    }
}

/// The sessions that the subscriber knows of, and how far they had come.
struct Told(HashMap<u64, u64>);

impl Told {
    /// What there is to say about it: nothing of what the list said already, nor of what ended before.
    fn event(&mut self, news: News, caller: Caller) -> Option<Event> {
        let Self(told) = self;
        match news {
            News::Opened(live) if caller.sees(&live) && !told.contains_key(&live.id) => {
                told.insert(live.id, live.activity());
                Some(Event::Opened { session: live.report() })
            }
            News::Opened(_) => None,
            News::Closed(live, reason) => {
                told.remove(&live.id)?;
                Some(Event::Closed { session: live.report(), reason: reason.to_string() })
            }
        }
    }

    /// Those that carried anything since they were told of.
    fn changed(&mut self, mut sessions: Vec<Arc<Live>>) -> Vec<Arc<Live>> {
        sessions.retain(|live| {
            let activity = live.activity();
            let told = self.0.get_mut(&live.id);
            told.is_some_and(|told| std::mem::replace(told, activity) != activity)
        });
        sessions
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixStream;
    use tokio::sync::watch;
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::reload;

    use super::*;
    use crate::stats::{Beginning, Flow, Kind, Overview, Stats};

    fn subject(stats: &Arc<Stats>) -> Subject {
        let config = watch::channel(Arc::default()).1;
        let overview = Overview { stats: Arc::clone(stats), config, listeners: Vec::new() };
        Subject { overview, level: reload::Layer::new(LevelFilter::INFO).1 }
    }

    /// A session that begins and ends at once.
    fn pass(stats: &Arc<Stats>) {
        let beginning = Beginning {
            kind: Kind::Passthrough,
            client: "127.0.0.1:40000".parse().unwrap(),
            owner: None,
            redirected: true,
            destination: "203.0.113.2:8333".parse().unwrap(),
            magic: None,
            session_id: None,
            accepted: Instant::now(),
        };
        drop(stats.register(beginning, Flow::default(), Flow::default()));
    }

    /// More than wait for a reader: here one that never gets its turn meanwhile.
    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told_what_it_missed_and_let_go() {
        let stats = Arc::new(Stats::default());
        let (subject, caller) = (subject(&stats), Caller { uid: 0, privileged: true });
        let (near, far) = UnixStream::pair().unwrap();
        let telling = tokio::spawn(async move {
            let (read, write) = near.into_split();
            let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
            tell(&subject, caller, Duration::from_secs(60), &mut reader, &mut writer).await
        });
        let mut lines = BufReader::new(far).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        assert!(first.starts_with(r#"{"answer":"subscribed","#), "{first}");
        for _ in 0..600 {
            pass(&stats);
        }
        let lost = lines.next_line().await.unwrap().unwrap();
        assert_eq!(lost, r#"{"event":"lost","events":176}"#);
        assert_eq!(lines.next_line().await.unwrap(), None);
        telling.await.unwrap().unwrap();
    }
}
