//! `bip324ctl web` in a real browser, over a real daemon with real sessions.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use bip324_testkit::browser::{Browser, Scheme};
use bip324_testkit::control::Control;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT};
use bip324_testkit::rules;
use bip324_testkit::v1::V1Client;
use bip324_testkit::wait::PATIENCE;
use nix::sys::signal::Signal;

const NETWORK: Network = Network::Regtest;

/// As an ordinary member of the group, with a client of his own and one of somebody else's.
#[test]
fn a_member_sees_his_sessions_live() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let daemon = control.daemon(lab)?;
        let (_server, url) = control.web(lab, Identity::Supplementary)?;
        let mut browser = Browser::start(lab, Identity::Supplementary)?;
        browser.resize(1280, 900, Scheme::Light)?;

        // Without the token there is nothing to see, and it is said where that is.
        let page = url.split('#').next().unwrap_or_default();
        browser.open(page)?;
        browser
            .wait_for("document.querySelector('#notice').innerText.includes('bip324ctl web')")?;
        browser.forget_complaints();
        browser.open(&url)?;
        browser
            .wait_for("document.querySelector('#verdict').innerText === 'No connections now'")?;
        ensure!(browser.value::<String>("location.href")? == page, "the token stays in sight");

        // It opens.
        let peer = (Family::V4.peer(), PORT).into();
        let client = Node::client(lab, Identity::Sudo, NETWORK, peer)?;
        let shown = node.wait_for_peer(PATIENCE)?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 1")?;
        browser.wait_for("document.querySelector('#verdict').dataset.state === 'good'")?;
        // It lives: all blocks are here when the client has them.
        client.wait_for_blocks(PATIENCE)?;
        browser.wait_for("/[1-9].* kB.*%/.test(document.querySelector('#saved').innerText)")?;
        browser.wait_for("document.querySelectorAll('#chart .line').length === 2")?;

        the_session_id_can_be_copied_and_compared(&mut browser, &shown.session_id)?;

        // Somebody else's is counted and not listed.
        let mut other = V1Client::redirected(lab, NETWORK, Family::V6.peer())?;
        other.handshake()?;
        browser.wait_for("document.querySelector('#now').innerText === '2'")?;
        let rows = "document.querySelectorAll('#table tbody tr').length";
        ensure!(browser.value::<u32>(rows)? == 1, "a session of another user's is listed");

        // It ends.
        client.stop()?;
        browser.wait_for("document.querySelectorAll('#ended li').length === 1")?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 0")?;

        // The daemon goes, and another one comes.
        daemon.end(Signal::SIGTERM)?;
        browser.wait_for("!document.querySelector('#notice').hidden")?;
        browser.wait_for("document.querySelector('#verdict').dataset.state === 'unknown'")?;
        let _daemon = control.daemon(lab)?;
        browser.wait_for("document.querySelector('#verdict').dataset.state === 'none'")?;
        ensure!(browser.value::<bool>("document.querySelector('#notice').hidden")?, "still told");

        let complaints = browser.complaints()?;
        ensure!(complaints.is_empty(), "{complaints:#?}");
        let foreign: Vec<_> =
            browser.requests().into_iter().filter(|asked| !asked.starts_with(page)).collect();
        ensure!(foreign.is_empty(), "{foreign:?}");
        Ok(())
    })
}

/// By keyboard alone, and read back from where a person would paste it.
fn the_session_id_can_be_copied_and_compared(browser: &mut Browser, id: &str) -> Result<()> {
    browser.run("document.querySelector('#table tbody button').focus()")?;
    browser.press("Enter")?;
    browser.wait_for("document.activeElement.id === 'detail-title'")?;
    let shown: String = browser.value("document.querySelector('p.id').innerText")?;
    let digits: String = shown.split_whitespace().collect();
    ensure!(digits == id, "shown: {shown}, of the node: {id}");
    browser.wait_for("document.querySelectorAll('#detail-types tbody tr').length > 4")?;

    browser.click(".actions button")?;
    browser.wait_for("document.querySelector('.actions').innerText.includes('Copied')")?;
    ensure!(browser.clipboard()? == id, "copied: {}", browser.clipboard()?);

    let rest = &id[1..];
    let other = format!("{}{rest}", if id.starts_with('1') { 2 } else { 1 });
    for (text, verdict) in [
        (id.to_uppercase(), "same"),
        (shown, "same"),
        (format!("0x{id}"), "same"),
        (format!(r#""session_id": "{id}","#), "same"),
        (other.clone(), "other"),
        // Not whole yet, or something else altogether: no reason for alarm.
        (id[..62].to_owned(), "part"),
        (other[..62].to_owned(), "part"),
        (format!("{id}0"), "none"),
        (format!("g{rest}"), "none"),
    ] {
        browser.run("document.querySelector('#compare').select()")?;
        browser.type_text(&text)?;
        let said: String = browser.value("document.querySelector('#compared').dataset.verdict")?;
        ensure!(said == verdict, "{text}: {said}");
    }
    browser.press("Escape")?;
    browser.wait_for("document.querySelector('#detail').hidden")?;
    browser.wait_for("document.activeElement.closest('#table tbody') !== null")
}

/// It numbers its sessions from 1 again: what is shown of one is not mixed with another one's.
#[test]
fn a_session_is_not_taken_for_that_of_a_restarted_daemon() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let daemon = control.daemon(lab)?;
        let (_server, url) = control.web(lab, Identity::Root)?;
        let mut browser = Browser::start(lab, Identity::Root)?;
        let mut first = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        first.handshake()?;
        browser.open(&url)?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 1")?;
        browser.click("#table tbody button")?;
        browser.wait_for(&told(Family::V4))?;

        daemon.end(Signal::SIGTERM)?;
        browser.wait_for("!document.querySelector('#over').hidden")?;
        let _daemon = control.daemon(lab)?;
        let mut second = V1Client::redirected(lab, NETWORK, Family::V6.peer())?;
        second.handshake()?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 1")?;
        // Its traffic is told, by which all that is open is brought up to date.
        browser.wait_for("/B/.test(document.querySelector('#table tbody td.rate').innerText)")?;
        browser
            .wait_for("document.querySelectorAll('#chart .line')[0]?.points.numberOfItems > 2")?;
        ensure!(browser.value::<bool>(&told(Family::V4))?, "the new session's peer is shown");
        ensure!(browser.value::<bool>("!document.querySelector('#over').hidden")?, "not over");
        let chosen = "document.querySelector('#table tr.chosen') !== null";
        ensure!(!browser.value::<bool>(chosen)?, "the new session is marked as the one shown");
        // It is opened like any other.
        browser.click("#table tbody button")?;
        browser.wait_for(&told(Family::V6))?;
        ensure!(browser.value::<bool>(chosen)?, "the session shown is not marked");
        Ok(())
    })
}

/// That this peer is the one in the detail.
fn told(family: Family) -> String {
    let peer = std::net::SocketAddr::new(family.peer(), PORT);
    format!("document.querySelector('#detail-facts dd')?.innerText === '{peer}'")
}

/// What somebody says of himself is shown, and is nothing else.
#[test]
fn what_a_stranger_calls_himself_is_text() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let _daemon = control.daemon(lab)?;
        let (_server, url) = control.web(lab, Identity::Root)?;
        let agent = "<img id=here src=x onerror=alert(1)>";
        let mut client = V1Client::redirected(lab, NETWORK, Family::V4.peer())?.named(agent);
        client.handshake()?;
        let mut browser = Browser::start(lab, Identity::Root)?;
        browser.open(&url)?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 1")?;
        browser.click("#table tbody button")?;
        browser.wait_for(&format!("document.body.innerText.includes({agent:?})"))?;
        ensure!(browser.value::<bool>("document.querySelector('#here') === null")?, "it is obeyed");
        let complaints = browser.complaints()?;
        ensure!(complaints.is_empty(), "{complaints:#?}");
        Ok(())
    })
}

/// Everything is to be seen without scrolling sideways, in both colours, on any screen; the pictures
/// are kept where $BIP324_PICTURES says.
#[test]
fn it_can_be_read_on_any_screen_in_both_colours() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let _daemon = control.daemon(lab)?;
        let (_server, url) = control.web(lab, Identity::Root)?;
        let mut browser = Browser::start(lab, Identity::Root)?;
        browser.resize(1280, 900, Scheme::Light)?;
        browser.open(&url)?;
        let peer = (Family::V4.peer(), PORT).into();
        let client = Node::client(lab, Identity::Sudo, NETWORK, peer)?;
        let mut others = Vec::new();
        for family in [Family::V6, Family::V4, Family::V6] {
            let mut other = V1Client::redirected(lab, NETWORK, family.peer())?;
            other.handshake()?;
            others.push(other);
        }
        client.wait_for_blocks(PATIENCE)?;
        browser.wait_for("document.querySelectorAll('#table tbody tr').length === 4")?;
        browser
            .wait_for("document.querySelector('#rules').innerText.startsWith('Rules: alive')")?;
        browser.click("#table tbody button")?;
        browser.wait_for("document.querySelectorAll('#detail-types tbody tr').length > 4")?;
        browser.click("h1")?;

        let pictures = pictures(lab)?;
        for width in [360, 1280, 2560] {
            for scheme in [Scheme::Light, Scheme::Dark] {
                browser.resize(width, 1000, scheme)?;
                browser.run("scrollTo(0, 0)")?;
                let over: i64 =
                    browser.value("document.documentElement.scrollWidth - innerWidth")?;
                ensure!(over <= 0, "{over} pixels too wide for {width}");
                let faint: Vec<String> = browser.value(include_str!("contrast.js"))?;
                ensure!(faint.is_empty(), "{width}, {scheme:?}: {faint:?}");
                let picture = browser.picture()?;
                ensure!(picture.starts_with(b"\x89PNG"), "no picture");
                fs::write(pictures.join(format!("web-{width}-{scheme:?}.png")), picture)?;
            }
        }
        let complaints = browser.complaints()?;
        ensure!(complaints.is_empty(), "{complaints:#?}");
        Ok(())
    })
}

fn pictures(lab: &Lab) -> Result<PathBuf> {
    let folder = std::env::var_os("BIP324_PICTURES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| lab.folder().join("pictures"));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
