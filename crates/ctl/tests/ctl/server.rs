//! A server at the other end of the control socket, which says what a test has it say.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process, thread};

use bip324_control::{Answer, PROTOCOL, Request, Version, line, parse};

/// A folder of a test, with its socket.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new("/tmp").join(format!("bip324-test-{}-{number}-ctl", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(crate) fn listen(&self) -> UnixListener {
        UnixListener::bind(self.socket()).unwrap()
    }

    /// Serves one connection after the other, with the answer to each request but `version`.
    pub(crate) fn serve(&self, answer: impl Fn(Request) -> Answer + Send + 'static) {
        let listener = self.listen();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for request in lines.map_while(Result::ok) {
                    let answer = match parse(request.as_bytes()).unwrap() {
                        Request::Version {} => version(PROTOCOL),
                        request => answer(request),
                    };
                    say(&mut stream, &answer);
                }
            }
        });
    }

    /// Answers whatever the first connection asks first with these bytes.
    pub(crate) fn answer(&self, bytes: Vec<u8>) {
        let listener = self.listen();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
            stream.write_all(&bytes).unwrap();
        });
    }

    /// Runs the program with these arguments to its end.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bip324ctl"));
        command.args(arguments).arg("--socket").arg(self.socket());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn version(protocol: u32) -> Answer {
    Answer::Version(Version { version: "9.9".to_owned(), protocol })
}

pub(crate) fn say(stream: &mut UnixStream, answer: &Answer) {
    stream.write_all(&line(answer).unwrap()).unwrap();
}
