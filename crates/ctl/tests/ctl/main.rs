//! The program, against a scripted server at the other end of the control socket.

#[cfg(test)]
mod client; // what can be at the other end
#[cfg(test)]
mod commands; // what each prints
#[cfg(test)]
mod daemon; // a scripted one with subscriptions
#[cfg(test)]
#[path = "../../src/sample.rs"]
mod sample; // facts for a scripted one
#[cfg(test)]
mod server; // the scripted one
#[cfg(test)]
mod top; // the dashboard, in a terminal
#[cfg(test)]
mod web; // the page's server
