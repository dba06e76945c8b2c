//! F5: an idle session whose peer falls silent for good.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use bip324_testkit::lab::Lab;
use bip324_testkit::peer::Peer;
use bip324_testkit::process::output;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::{MAGIC, lanes};

/// Opens a session, swallows every packet of it from then on, and returns how long the client had to
/// wait for its end.
pub(crate) async fn watch(lab: &Lab) -> Result<Duration> {
    let ip = lanes::address(lab, lanes::BLACK_HOLE)?;
    let peer = Peer::in_lab(lab, ip)?;
    let (mut client, _session) = peer.open(lab, MAGIC).await?;
    swallow(lab, ip)?;
    let start = Instant::now();
    // However it ends: with a FIN or a reset.
    let _ = client.stream.read(&mut [0]).await;
    Ok(start.elapsed())
}

fn swallow(lab: &Lab, ip: IpAddr) -> Result<()> {
    let rules = format!(
        "table inet hole {{
            chain input {{ type filter hook input priority 0; ip daddr {ip} drop; }}
            chain output {{ type filter hook output priority 0; ip saddr {ip} drop; }}
        }}"
    );
    let mut command = lab.peer.command("nft");
    command.arg(rules);
    output(command).map(drop)
}

/// TCP_USER_TIMEOUT, looked at with every keepalive probe.
pub(crate) const EXPECTED: Range<Duration> =
    Duration::from_secs(20 * 60)..Duration::from_secs(25 * 60);

/// The shortest soak that sees its end.
pub(crate) const NEEDS: Duration = Duration::from_secs(25 * 60);
