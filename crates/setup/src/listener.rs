//! Who listens on the daemon's addresses, as /proc/net/tcp and tcp6 say.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::{Uid, User};

/// One of the daemon's addresses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listener {
    /// The address that clients are redirected to.
    pub address: SocketAddr,
    /// Name, or else number, of the user who made the listening socket; `None` without one.
    pub owner: Option<String>,
}

/// Looks for listeners on 127.0.0.1 and ::1, wildcard ones included.
///
/// # Errors
/// When /proc/net/tcp cannot be read. A kernel without IPv6 has no tcp6, and no listener there.
pub fn listeners(port: u16) -> io::Result<[Listener; 2]> {
    let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
    let v6 = fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default();
    let at = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        Listener { address, owner: owner(&v4, &v6, address).map(user_name) }
    };
    Ok([at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())])
}

/// The uid of the socket that a connection to `address` would reach: an exact one before a
/// wildcard. An IPv6 wildcard may take IPv4 too; /proc does not say whether it does.
fn owner(v4: &str, v6: &str, address: SocketAddr) -> Option<u32> {
    let port = address.port();
    let any_v6 = || listening_uid(v6, &v6_column(Ipv6Addr::UNSPECIFIED, port));
    match address.ip() {
        IpAddr::V4(ip) => listening_uid(v4, &v4_column(ip, port))
            .or_else(|| listening_uid(v4, &v4_column(Ipv4Addr::UNSPECIFIED, port)))
            .or_else(any_v6),
        IpAddr::V6(ip) => listening_uid(v6, &v6_column(ip, port)).or_else(any_v6),
    }
}

/// Columns: slot, local address, remote address, state, queues, timer, retransmits, uid, …
fn listening_uid(table: &str, local: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let is_local = columns.next()? == local;
        let is_listening = columns.nth(1)? == TCP_LISTEN;
        let uid = columns.nth(3)?.parse().ok()?;
        (is_local && is_listening).then_some(uid)
    })
}

/// The kernel prints addresses as 32-bit words of its own byte order (net/ipv4/tcp_ipv4.c).
fn v4_column(ip: Ipv4Addr, port: u16) -> String {
    format!("{:08X}:{port:04X}", ip.to_bits().to_be())
}

fn v6_column(ip: Ipv6Addr, port: u16) -> String {
    let bits = ip.to_bits();
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be());
    format!("{a:08X}{b:08X}{c:08X}{d:08X}:{port:04X}")
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

const TCP_LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(String, &str, u32)]) -> String {
        let mut text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned();
        for (local, state, uid) in rows {
            text += &format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:>5}        0 1\n"
            );
        }
        text
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_exact_listener_wins_over_the_wildcard() {
        let v4 = table(&[
            (v4_column(Ipv4Addr::UNSPECIFIED, 1324), TCP_LISTEN, 1),
            (v4_column(Ipv4Addr::LOCALHOST, 1324), TCP_LISTEN, 2),
        ]);
        assert_eq!(owner(&v4, "", address("127.0.0.1:1324")), Some(2));
    }

    #[test]
    fn connections_and_other_ports_are_no_listeners() {
        let v4 = table(&[
            (v4_column(Ipv4Addr::LOCALHOST, 1324), "01", 1),
            (v4_column(Ipv4Addr::LOCALHOST, 1325), TCP_LISTEN, 1),
        ]);
        assert_eq!(owner(&v4, "", address("127.0.0.1:1324")), None);
    }

    #[test]
    fn v6_and_its_wildcard_are_found() {
        let exact = table(&[(v6_column(Ipv6Addr::LOCALHOST, 1324), TCP_LISTEN, 3)]);
        assert_eq!(owner("", &exact, address("[::1]:1324")), Some(3));
        assert_eq!(owner("", &exact, address("127.0.0.1:1324")), None);
        let any = table(&[(v6_column(Ipv6Addr::UNSPECIFIED, 1324), TCP_LISTEN, 4)]);
        assert_eq!(owner("", &any, address("[::1]:1324")), Some(4));
        assert_eq!(owner("", &any, address("127.0.0.1:1324")), Some(4));
    }
}
