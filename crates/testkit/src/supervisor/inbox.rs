//! The notification socket of a service, and what came through it.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::fstat;

/// A bound socket and the thread that reads from it: a service must never wait for its supervisor.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    /// Times READY=1 came.
    ready: u64,
    /// When something came last.
    heard: Instant,
    stored: Vec<(String, OwnedFd)>,
    most_stored: usize,
}

impl Inbox {
    /// Binds `path`, and keeps at most `most_stored` descriptors.
    pub(super) fn open(path: &Path, most_stored: usize) -> Result<Self> {
        if path.exists() {
            fs::remove_file(path)?;
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(INTERVAL))?;
        let state = State { ready: 0, heard: Instant::now(), stored: Vec::new(), most_stored };
        let (state, over) = (Arc::new(Mutex::new(state)), Arc::new(AtomicBool::new(false)));
        let reader = thread::spawn({
            let (state, over) = (Arc::clone(&state), Arc::clone(&over));
            move || {
                while !over.load(Relaxed) {
                    if let (Some(message), Ok(mut state)) = (receive(&socket), state.lock()) {
                        state.take(message);
                    }
                }
            }
        });
        Ok(Self { state, over, reader: Some(reader) })
    }

    /// How often the service has been ready.
    pub(super) fn ready(&self) -> Result<u64> {
        Ok(self.state()?.ready)
    }

    /// How long it has said nothing.
    pub(super) fn silence(&self) -> Result<Duration> {
        Ok(self.state()?.heard.elapsed())
    }

    /// A copy of the stored descriptor and its name.
    pub(super) fn stored(&self) -> Result<Option<(String, OwnedFd)>> {
        match self.state()?.stored.first() {
            Some((name, descriptor)) => Ok(Some((name.clone(), descriptor.try_clone()?))),
            None => Ok(None),
        }
    }

    pub(super) fn close_stored(&self) -> Result<()> {
        self.state()?.stored.clear();
        Ok(())
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| anyhow!("the reader of the inbox panicked"))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl State {
    fn take(&mut self, Message { text, descriptors }: Message) {
        self.heard = Instant::now();
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let name = value("FDNAME").unwrap_or("stored").to_owned();
        if value("FDSTOREREMOVE") == Some("1") {
            self.stored.retain(|(stored, _)| *stored != name);
        }
        if value("FDSTORE") == Some("1") {
            for descriptor in descriptors {
                self.store(name.clone(), descriptor);
            }
        }
        // Last, so that who waits for it finds the rest done.
        self.ready += u64::from(value("READY") == Some("1"));
    }

    /// As systemd: what is there already, or is too much, is closed.
    fn store(&mut self, name: String, descriptor: OwnedFd) {
        let inode = |descriptor: &OwnedFd| fstat(descriptor).ok().map(|stat| stat.st_ino);
        let known = self.stored.iter().any(|(_, stored)| inode(stored) == inode(&descriptor));
        if !known && self.stored.len() < self.most_stored {
            self.stored.push((name, descriptor));
        }
    }
}

struct Message {
    text: String,
    descriptors: Vec<OwnedFd>,
}

/// The next message, unless none comes for a while.
fn receive(socket: &UnixDatagram) -> Option<Message> {
    let (mut bytes, mut space) = ([0; 4096], cmsg_space!([RawFd; 8]));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let received = match received {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Err(error) => {
            eprintln!("the notification socket: {error}");
            thread::sleep(INTERVAL);
            return None;
        }
    };
    let mut descriptors = Vec::new();
    for control in received.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    let length = received.bytes;
    let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
    Some(Message { text, descriptors })
}

/// How soon the reader notices that it is no longer needed.
const INTERVAL: Duration = Duration::from_millis(100);
