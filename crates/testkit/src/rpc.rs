//! A node's RPC over one connection: thousands of calls, for which `bitcoin-cli` would be too slow.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::namespace::Namespace;

/// A connection.
#[derive(Debug)]
pub struct Rpc(BufReader<TcpStream>);

impl Rpc {
    /// Connects to the regtest node in `namespace`.
    ///
    /// # Errors
    ///
    /// Where it does not listen.
    pub fn connect(namespace: &Namespace) -> Result<Self> {
        let stream = namespace.run(|| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Calls `method`.
    ///
    /// # Errors
    ///
    /// The node's, and those of the connection.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let body = json!({ "id": 0, "method": method, "params": parameters }).to_string();
        write!(
            self.0.get_mut(),
            "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {BASIC}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let answer: Value = serde_json::from_slice(&self.body()?)?;
        let error = answer.get("error").filter(|error| !error.is_null());
        ensure!(error.is_none(), "{method}: {error:?}");
        answer.get("result").cloned().with_context(|| format!("{method}: no result"))
    }

    fn body(&mut self) -> Result<Vec<u8>> {
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the node closed the connection");
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.parse()?);
                }
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length.context("an answer without its length")?];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }
}

/// Lets user `u` in with the password `p`, beside the cookie that `bitcoin-cli` uses: the node is in a
/// namespace of the test.
pub(crate) const AUTHORIZATION: &str =
    "-rpcauth=u:00$c8329e31612d33f8b7633213f70804763499feec86bfb28912fe92c9e7fdb980";

/// The same in base64.
const BASIC: &str = "dTpw";

/// Of regtest.
const PORT: u16 = 18443;
