//! `bip324ctl top`: the sessions, live. What is known (state, order), what keys do and how it looks
//! (view and below) are pure; here is what waits.

mod detail;
mod feed;
mod keys;
mod list;
mod look;
mod order;
mod plain;
pub mod screen;
mod state;
mod summary;
mod view;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bip324_control::Event;
use crossterm::event::{self, Event as Input};
use nix::sys::signal::{Signal, raise};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::keys::{Action, press};
use self::look::Look;
use self::screen::Screen;
use self::state::{Message, State};
use crate::client::Client;
use crate::exit::{Error, Exit, Outcome};
use crate::{process, status};

/// Runs until a key or a signal ends it.
///
/// # Errors
/// When there is no daemon to begin with, or no terminal any more.
pub async fn run(socket: &Path) -> Outcome {
    let (subscription, events) = feed::subscribe(socket).await?;
    let (out, messages) = channel(MESSAGES);
    tokio::spawn(feed::run(socket.to_owned(), events, out.clone()));
    let mut top =
        Top { socket: socket.to_owned(), state: State::new(), look: Look::of_environment(), out };
    let first = Message::Subscribed(Box::new(subscription));
    let done = if can_be_drawn_on() {
        top.take(first);
        top.draw_until_the_end(messages).await
    } else {
        top.print_until_the_end(first, messages).await
    };
    match done {
        Ok(()) => Ok((String::new(), Exit::Ok)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok((String::new(), Exit::IoErr)),
        Err(error) => Err(Error::System("the terminal is gone", error)),
    }
}

fn can_be_drawn_on() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    io::stdout().is_terminal() && !["", "dumb", "unknown"].contains(&term.as_str())
}

/// The dashboard.
struct Top {
    socket: PathBuf,
    state: State,
    look: Look,
    out: Sender<Message>,
}

impl Top {
    async fn draw_until_the_end(mut self, mut messages: Receiver<Message>) -> io::Result<()> {
        // Before the screen: a signal in between would leave the terminal as it is drawn on.
        let [mut interrupt, mut terminate, mut hang_up, mut quit, mut stop] = signals()?;
        let mut screen = Screen::enter()?;
        let mut inputs = read_inputs()?;
        let mut proofs = interval(PROOFS);
        proofs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drawn = self.draw(&mut screen)?;
        let mut changed = false;
        loop {
            tokio::select! {
                () = sleep_until(drawn + FRAME), if changed => {
                    drawn = self.draw(&mut screen)?;
                    changed = false;
                }
                Some(message) = messages.recv() => {
                    self.take(message);
                    changed = true;
                }
                input = inputs.recv() => match input {
                    // Where nothing can be read, nobody looks either.
                    None => return Ok(()),
                    Some(input) => {
                        if self.input(&input, &mut screen)? == Action::Quit {
                            return Ok(());
                        }
                        drawn = self.draw(&mut screen)?;
                    }
                },
                _ = proofs.tick() => self.prove(),
                _ = stop.recv() => {
                    suspend(&mut screen)?;
                    drawn = self.draw(&mut screen)?;
                }
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv() => return Ok(()),
                _ = quit.recv() => return Ok(()),
            }
        }
    }

    async fn print_until_the_end(
        mut self,
        first: Message,
        mut messages: Receiver<Message>,
    ) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(message) = next {
            if let Some(line) = plain::line(message, &mut self.state) {
                plain::print(&line)?;
            }
            next = messages.recv().await;
        }
        Ok(())
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<Instant> {
        screen.terminal.draw(|frame| view::draw(frame, &mut self.state, self.look))?;
        Ok(Instant::now())
    }

    /// Takes in a message; each second, and for a new list of sessions, processes are looked for.
    fn take(&mut self, message: Message) {
        let look_up = match &message {
            Message::Event(event) => matches!(**event, Event::Traffic { .. }),
            Message::Subscribed(_) => true,
            _ => false,
        };
        self.state.take(message);
        if look_up {
            self.look_up();
        }
    }

    fn input(&mut self, input: &Input, screen: &mut Screen) -> io::Result<Action> {
        let action = match input {
            Input::Key(key) => press(&mut self.state, *key),
            _ => Action::None,
        };
        match action {
            Action::Suspend => suspend(screen)?,
            Action::Redraw => screen.terminal.clear()?,
            Action::Close(id) => self.close(id),
            Action::None | Action::Quit => {}
        }
        Ok(action)
    }

    fn close(&self, id: u64) {
        let (socket, out) = (self.socket.clone(), self.out.clone());
        let close = async move { Client::connect(&socket).await?.close(id).await };
        tokio::spawn(async move {
            // That it has ended is told by the daemon's event.
            if let Err(error) = close.await {
                let _ = out.send(Message::Note(Error::Client(error).line())).await;
            }
        });
    }

    fn prove(&self) {
        let (daemon, out) = (self.state.status.clone(), self.out.clone());
        tokio::spawn(async move {
            if let Ok(rules) = status::prove_rules(daemon.as_ref()).await {
                let _ = out.send(Message::Rules(rules)).await;
            }
        });
    }

    fn look_up(&mut self) {
        let sessions = self.state.untried();
        if sessions.is_empty() {
            return;
        }
        let daemon = self.state.status.as_ref();
        let listeners = daemon.map_or_else(Vec::new, |daemon| daemon.listeners.clone());
        let out = self.out.clone();
        tokio::task::spawn_blocking(move || {
            let found = process::clients(&sessions, &listeners);
            let _ = out.blocking_send(Message::Processes(found));
        });
    }
}

/// Keys, and changes of the terminal's size, from a thread that ends with the process.
fn read_inputs() -> io::Result<Receiver<Input>> {
    let (out, inputs) = channel(INPUTS);
    let read = move || {
        while let Ok(input) = event::read() {
            if out.blocking_send(input).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("inputs".to_owned()).spawn(read)?;
    Ok(inputs)
}

fn signals() -> io::Result<[tokio::signal::unix::Signal; 5]> {
    Ok([
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
        signal(SignalKind::quit())?,
        signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?,
    ])
}

/// Stops this process, all its threads, until the shell has it go on.
fn suspend(screen: &mut Screen) -> io::Result<()> {
    // It cannot fail: nobody can keep a process from stopping itself.
    screen.lend(|| {
        let _ = raise(Signal::SIGSTOP);
    })
}

/// Messages that wait to be taken in; beyond them the daemon waits, or drops us.
const MESSAGES: usize = 256;

/// Keys that wait.
const INPUTS: usize = 16;

/// Between two pictures that no key has asked for.
const FRAME: Duration = Duration::from_millis(100);

/// Between two proofs of the rules.
const PROOFS: Duration = Duration::from_secs(60);
