//! Headless Chromium, driven over a pipe by its DevTools protocol.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::identity::Identity;
use crate::lab::Lab;
use crate::process::Process;
use crate::wait::{PATIENCE, wait_for};

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    _process: Process,
    to: File,
    from: File,
    read: Vec<u8>,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
}

/// What a page may be told of its reader's wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on light ground.
    Light,
    /// The other way round.
    Dark,
}

impl Browser {
    /// Starts it on the host as `identity`.
    ///
    /// # Errors
    ///
    /// Where it is absent or does not answer.
    pub fn start(lab: &Lab, identity: Identity) -> Result<Self> {
        crate::prerequisite::program("chromium", "browser")?;
        let data = format!("--user-data-dir={}", lab.home().join("browser").display());
        let words: Vec<String> = OPTIONS
            .iter()
            .map(|word| (*word).to_owned())
            .chain([data, "about:blank".into()])
            .collect();
        let mut command = lab.command(&lab.host, identity, &words)?;
        let (its_input, to) = pipe2(OFlag::O_CLOEXEC)?;
        let (from, its_output) = pipe2(OFlag::O_CLOEXEC)?;
        let given = |parent_fd: OwnedFd, child_fd| FdMapping { parent_fd, child_fd };
        command.fd_mappings(vec![given(its_input, 3), given(its_output, 4)])?;
        let _process = Process::spawn("browser", command, lab.folder())?;
        let [to, from] = [to, from].map(File::from);
        let (read, events) = (Vec::new(), Vec::new());
        let mut browser = Self { _process, to, from, read, session: None, calls: 0, events };
        browser.attach()?;
        Ok(browser)
    }

    fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let wanted = json!({ "targetId": target.get("targetId"), "flatten": true });
        let attached = self.call("Target.attachToTarget", wanted)?;
        self.session = text(&attached, "/sessionId").map(str::to_owned);
        ensure!(self.session.is_some(), "no session: {attached}");
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Opens `url`.
    ///
    /// # Errors
    ///
    /// Where nothing is there.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.wait_for("document.readyState === 'complete'")
    }

    /// The value of a JavaScript expression in the page; a promise's once it is kept.
    ///
    /// # Errors
    ///
    /// What it throws, or a value of another type.
    pub fn value<T: DeserializeOwned>(&mut self, expression: &str) -> Result<T> {
        let question =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", question)?;
        ensure!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        let value = answer.pointer("/result/value").cloned().unwrap_or_default();
        serde_json::from_value(value).context(expression.to_owned())
    }

    /// Runs JavaScript in the page.
    ///
    /// # Errors
    ///
    /// What it throws.
    pub fn run(&mut self, script: &str) -> Result<()> {
        self.value::<Option<()>>(&format!("void ({script})"))?;
        Ok(())
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Errors
    ///
    /// Where it is not in time; with what the page shows then.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let waited = wait_for(expression, PATIENCE, || {
            Ok(self.value::<bool>(&format!("Boolean({expression})"))?.then_some(()))
        });
        if waited.is_err() {
            eprintln!("--- the page\n{}", self.value::<String>("document.body.innerText")?);
        }
        waited
    }

    /// Clicks on the middle of the first element that `selector` finds, as a person does.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn click(&mut self, selector: &str) -> Result<()> {
        let (x, y): (f64, f64) = self.value(&format!(
            "(() => {{ const found = document.querySelector({selector:?});
                found.scrollIntoView({{ block: 'center' }});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        ))?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event)?;
        }
        Ok(())
    }

    /// Presses a key by its name, such as `Tab`.
    ///
    /// # Errors
    ///
    /// Where the browser has ended.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => bail!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code,
                "text": text });
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Types text into what has the focus.
    ///
    /// # Errors
    ///
    /// Where the browser has ended.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", json!({ "text": text })).map(drop)
    }

    /// What is in the clipboard. The page's own right to read it is not needed to write it.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn clipboard(&mut self) -> Result<String> {
        let rights = json!({ "permissions": ["clipboardReadWrite"] });
        self.call("Browser.grantPermissions", rights)?;
        self.value("navigator.clipboard.readText()")
    }

    /// Has the page as wide as this, in these colours.
    ///
    /// # Errors
    ///
    /// Where the browser has ended.
    pub fn resize(&mut self, width: u32, height: u32, scheme: Scheme) -> Result<()> {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": value });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }))?;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        // Drawn twice, it is laid out and told so.
        self.value::<Value>(
            "new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))",
        )
        .map(drop)
    }

    /// A picture of what is to be seen now, as PNG.
    ///
    /// # Errors
    ///
    /// Where the browser makes none.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }))?;
        let text = text(&picture, "/data").context("no picture")?;
        Ok(from_base64(text))
    }

    /// What the page's console has said: warnings and errors, those of the browser included.
    ///
    /// # Errors
    ///
    /// Where the browser has ended.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        self.call("Runtime.evaluate", json!({ "expression": "0" }))?;
        let loud = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];
        let said = self.events.iter().filter(|event| loud.contains(&method(event)));
        Ok(said.map(ToString::to_string).collect())
    }

    /// Forgets what the console has said so far.
    pub fn forget_complaints(&mut self) {
        self.events.retain(|event| method(event) == REQUEST);
    }

    /// The addresses that the page has asked for anything.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| method(event) == REQUEST);
        sent.filter_map(|event| text(event, "/params/request/url").map(str::to_owned)).collect()
    }

    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": parameters });
        let of_page = self.session.as_ref().filter(|_| !method.starts_with("Browser."));
        if let (Some(call), Some(session)) = (call.as_object_mut(), of_page) {
            call.insert("sessionId".to_owned(), json!(session));
        }
        let line = [call.to_string().as_bytes(), b"\0"].concat();
        self.to.write_all(&line).context("the browser has ended")?;
        loop {
            let message = self.message().with_context(|| method.to_owned())?;
            if message.get("id").and_then(Value::as_u64) != Some(self.calls) {
                self.events.push(message);
                continue;
            }
            let result = message.get("result").cloned();
            return result.with_context(|| format!("{method}: {message}"));
        }
    }

    /// The next one, each of which ends in a zero byte.
    fn message(&mut self) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let mut message: Vec<u8> = self.read.drain(..=end).collect();
                message.pop();
                return Ok(serde_json::from_slice(&message)?);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(left > Duration::ZERO, "the browser is silent");
            let mut wanted = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
            poll(&mut wanted, PollTimeout::try_from(left)?)?;
            let mut bytes = [0; 65536];
            let count = self.from.read(&mut bytes)?;
            ensure!(count > 0, "the browser has ended");
            self.read.extend(bytes.iter().take(count));
        }
    }
}

/// Of text without line breaks, as the protocol has it.
fn from_base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = (bits << 6) | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(((bits >> count) & 0xff) as u8);
        }
    }
    bytes
}

fn method(event: &Value) -> &str {
    text(event, "/method").unwrap_or_default()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

const REQUEST: &str = "Network.requestWillBeSent";

/// Its own sandbox wants user namespaces, which a container may not have; what it opens here is ours.
const OPTIONS: [&str; 9] = [
    "chromium",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length_is_read() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo")] {
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
        assert_eq!(from_base64("+/+/AA=="), [0xfb, 0xff, 0xbf, 0]);
    }
}
