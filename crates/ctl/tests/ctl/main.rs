//! The program, against a scripted server at the other end of the control socket.

#[cfg(test)]
mod client; // what can be at the other end
#[cfg(test)]
mod server; // the scripted one
