//! The control socket, asked as root, as the daemon's user and as strangers.

mod answers;
mod bounds;
mod permissions;
mod program;
mod schema;
mod subscribe;

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bip324_control::{Answer, Code, Detail, Refusal, Request, Session, Status, line, parse};
use bip324_proxy::Config;
use bip324_proxy::control::{open, start};
use bip324_proxy::log::Level;
use bip324_testkit::peer::within;
use nix::libc::{SYS_setresuid, syscall};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, reload};

use crate::harness::*;
use crate::program::Folder;

/// A daemon with a control socket that everybody may open.
pub(crate) struct Controlled {
    pub(crate) daemon: Daemon,
    path: PathBuf,
    level: Level,
    _layer: reload::Layer<LevelFilter, Registry>,
    _folder: Folder,
    task: JoinHandle<()>,
}

/// Whoever asks.
pub(crate) struct Talker(BufReader<UnixStream>);

impl Controlled {
    async fn start(config: Config) -> Result<Self> {
        let daemon = Daemon::start(config).await?;
        let folder = Folder::new()?;
        let path = folder.0.join("control.sock");
        let opened = open(Some(&path), None)?.context("no socket")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        let (layer, level) = reload::Layer::new(LevelFilter::INFO);
        let task = start(opened, daemon.overview(), level.clone())?;
        Ok(Self { daemon, path, level, _layer: layer, _folder: folder, task })
    }

    async fn start_default() -> Result<Self> {
        Self::start(Config::default()).await
    }

    async fn talk(&self) -> Result<Talker> {
        Talker::to(&self.path).await
    }

    fn talk_as(&self, uid: u32) -> Result<Talker> {
        Talker::to_as(&self.path, uid)
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Talker {
    pub(crate) async fn to(path: &Path) -> Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(path).await?)))
    }

    /// As another user, which only root can be.
    pub(crate) fn to_as(path: &Path, uid: u32) -> Result<Self> {
        let path = path.to_owned();
        let connect = move || -> Result<OwnedFd> {
            #[expect(unsafe_code, reason = "the library's call changes every thread's user")]
            // SAFETY: it takes three numbers, and changes the user of this thread alone.
            let changed = unsafe { syscall(SYS_setresuid, uid, uid, uid) };
            ensure!(changed == 0, "run this test as root");
            Ok(net::UnixStream::connect(path)?.into())
        };
        let stream = net::UnixStream::from(thread::spawn(connect).join().unwrap()?);
        stream.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(stream)?)))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        within("the daemon to read", self.0.write_all(bytes)).await??;
        Ok(())
    }

    /// The next line, as what it is to be.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = Vec::new();
        within("a line", self.0.read_until(b'\n', &mut line)).await??;
        ensure!(line.ends_with(b"\n"), "the connection ended");
        let text = String::from_utf8_lossy(&line).into_owned();
        let said: serde_json::Value = serde_json::from_slice(&line)?;
        let kind = if said.get("event").is_some() { "event" } else { "answer" };
        schema::check(kind, &said).map_err(|why| anyhow!("{text}: {why}"))?;
        parse(&line).with_context(|| text)
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.write(&line(request)?).await?;
        self.next().await
    }

    /// What is refused.
    async fn refused(&mut self, request: &Request) -> Result<Code> {
        match self.ask(request).await? {
            Answer::Error(Refusal { code, message }) => {
                ensure!(!message.is_empty(), "{code:?} without a reason");
                Ok(code)
            }
            other => bail!("{other:?}"),
        }
    }

    pub(crate) async fn status(&mut self) -> Result<Status> {
        match self.ask(&Request::Status {}).await? {
            Answer::Status(status) => Ok(*status),
            other => bail!("{other:?}"),
        }
    }

    pub(crate) async fn sessions(&mut self) -> Result<Vec<Session>> {
        match self.ask(&Request::Sessions {}).await? {
            Answer::Sessions { sessions, .. } => Ok(sessions),
            other => bail!("{other:?}"),
        }
    }

    async fn detail(&mut self, id: u64) -> Result<Detail> {
        match self.ask(&Request::Session { id }).await? {
            Answer::Session(detail) => Ok(*detail),
            other => bail!("{other:?}"),
        }
    }

    /// Nothing more comes, and the connection ends in order.
    async fn assert_ended(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        within("the end", self.0.read_to_end(&mut rest)).await??;
        ensure!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        Ok(())
    }
}
