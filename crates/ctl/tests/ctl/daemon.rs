//! A scripted daemon that serves connections side by side, with subscriptions.

use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use bip324_control::{
    Answer, Code, Detail, Event, PROTOCOL, Refusal, Request, Scope, Session, line, parse,
};

use crate::sample;
use crate::server::{Place, say, version};

/// It ends when dropped, with all its connections, and its socket goes.
pub(crate) struct Daemon {
    shared: Arc<Shared>,
    socket: std::path::PathBuf,
}

/// What is said of the session of this number.
type Told = fn(u64) -> Answer;

#[derive(Default)]
struct Shared {
    sessions: Vec<Session>,
    answer: Mutex<Option<Told>>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<UnixStream>>,
    subscribers: Mutex<Vec<UnixStream>>,
}

impl Daemon {
    pub(crate) fn start(place: &Place, sessions: Vec<Session>) -> Self {
        let listener = place.listen();
        let shared = Arc::new(Shared { sessions, ..Shared::default() });
        let daemon = Self { shared: Arc::clone(&shared), socket: place.socket() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                shared.connections.lock().unwrap().push(stream.try_clone().unwrap());
                thread::spawn(move || shared.converse(stream));
            }
        });
        daemon
    }

    /// From now on the answer to every question for a session.
    pub(crate) fn answer(&self, answer: Told) {
        *self.shared.answer.lock().unwrap() = Some(answer);
    }

    /// To all who have subscribed, as far as they still listen.
    pub(crate) fn tell(&self, event: Event) {
        for mut stream in self.shared.subscribers.lock().unwrap().iter() {
            let _ = std::io::Write::write_all(&mut stream, &line(&event).unwrap());
        }
    }

    /// Closes the connections of all who have subscribed.
    pub(crate) fn hang_up(&self) {
        for stream in self.shared.subscribers.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.shared.subscribers.lock().unwrap().len()
    }

    /// All that it was asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
        for stream in self.shared.connections.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn converse(&self, mut stream: UnixStream) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for text in lines.map_while(Result::ok) {
            let request: Request = parse(text.as_bytes()).unwrap();
            self.requests.lock().unwrap().push(request.clone());
            match request {
                Request::Version {} => say(&mut stream, &version(PROTOCOL)),
                Request::Session { id } => say(&mut stream, &self.session(id)),
                Request::Close { id } => say(&mut stream, &Answer::Closed { id }),
                Request::Subscribe { .. } => {
                    let mut subscribers = self.subscribers.lock().unwrap();
                    let status = Box::new(sample::status());
                    let sessions = self.sessions.clone();
                    say(&mut stream, &Answer::Subscribed { scope: Scope::Own, status, sessions });
                    subscribers.push(stream.try_clone().unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn session(&self, id: u64) -> Answer {
        if let Some(answer) = *self.answer.lock().unwrap() {
            return answer(id);
        }
        let message = format!("no session {id}");
        let none = || Answer::Error(Refusal { code: Code::NoSuchSession, message });
        let found = self.sessions.iter().find(|session| session.id == id);
        found.map_or_else(none, |session| {
            let session = session.clone();
            Answer::Session(Box::new(Detail { session, to_peer: vec![], to_client: vec![] }))
        })
    }
}
