//! One connection: a request, its answer, and so on.

use std::io;
use std::time::Duration;

use bip324_control::{MAX_REQUEST, Request, parse};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::answer::{Reply, Subject, bad_request};
use super::caller::Caller;
use super::events;
use super::reader::{Line, Reader};
use super::writer::Writer;

/// Serves it to its end, and a little longer: whoever comes next in its place is paced, too.
pub(super) async fn run(stream: UnixStream, caller: Caller, subject: &Subject) {
    let (read, write) = stream.into_split();
    let served = serve(Reader::new(read), Writer::new(write), caller, subject).await;
    if let Err(error) = served {
        debug!("a connection to the control socket broke: {error}");
    }
    sleep(PACE).await;
}

async fn serve(
    mut reader: Reader,
    mut writer: Writer,
    caller: Caller,
    subject: &Subject,
) -> io::Result<()> {
    loop {
        let Ok(line) = timeout(IDLE, reader.line()).await else { return Ok(()) };
        let reply = match line? {
            Line::End => return Ok(()),
            Line::TooLong => {
                let message = format!("a request has at most {MAX_REQUEST} bytes");
                return writer.line(&bad_request(message)).await;
            }
            Line::Whole(line) => match parse::<Request>(line) {
                Ok(request) => subject.answer(request, caller),
                Err(error) => Reply::Answer(bad_request(format!("not a request: {error}"))),
            },
        };
        match reply {
            Reply::Answer(answer) => writer.line(&answer).await?,
            Reply::List(answer, sessions) => writer.list(&answer, &sessions).await?,
            Reply::Events(period) => {
                return events::tell(subject, caller, period, &mut reader, &mut writer).await;
            }
        }
        sleep(PACE).await;
    }
}

/// Between two requests, two connections in one place, and two reads of what nobody wants: nobody can
/// keep the daemon busy with them.
pub(super) const PACE: Duration = Duration::from_millis(10);

/// How long a whole request may take to come: a place is not for keeping.
const IDLE: Duration = Duration::from_secs(60);
