//! The keys of the configuration file.

/// A key of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The type of its value, in the words of TOML, and which values there are.
    pub kind: &'static str,
    /// What holds where it is left out, as a value of TOML.
    pub default: &'static str,
    /// What it is for: one paragraph.
    pub doc: &'static str,
    /// Which program it tells something.
    pub reader: Reader,
    /// Whether SIGHUP changes it in every program that reads it; otherwise a restart does.
    pub reload: bool,
}

/// Which program a key tells something. Both refuse what they do not understand, in every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// `bip324-proxy`.
    Daemon,
    /// `bip324-setup`.
    Setup,
    /// Both.
    Both,
}

impl Reader {
    /// Whether it is one of those that the daemon reads.
    #[must_use]
    pub const fn is_daemon(self) -> bool {
        matches!(self, Self::Daemon | Self::Both)
    }
}

/// Every key, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "group",
        kind: "string",
        default: r#""bip324""#,
        doc: "Group whose connections are redirected. The daemon refuses to run as it; without this \
              key only where that group exists. A new one holds for the rules from the guard's next \
              reload on, and for the daemon from its next start. Debian's package makes and removes \
              bip324 alone: another group outlives it, and its clients then connect in plaintext.",
        reader: Reader::Both,
        reload: false,
    },
    Key {
        name: "ports",
        kind: "array of integers, 1 to 64 ports",
        default: "[8333]",
        doc: "Ports of peers to which the group's connections are redirected. Connections to all other \
              ports leave as the client makes them, in plaintext. The other networks' are 18333 \
              (testnet3), 48333 (testnet4), 38333 (signet) and 18444 (regtest).",
        reader: Reader::Setup,
        reload: true,
    },
    Key {
        name: "on_exit",
        kind: r#"string, "block" or "open""#,
        default: r#""block""#,
        doc: "What the group's connections meet once the guard of the rules is stopped: \"block\" \
              refuses them, \"open\" lets them out in plaintext.",
        reader: Reader::Setup,
        reload: true,
    },
    Key {
        name: "listen",
        kind: r#"array of strings, "ADDRESS:PORT""#,
        default: r#"["127.0.0.1:1324", "[::1]:1324"]"#,
        doc: "Addresses that the daemon listens on. The rules lead to the port of the first one that is \
              127.0.0.1, [::1] or unspecified. To be left out where a systemd socket unit has the \
              addresses: both together are refused. bip324-run reads no file: give it another port \
              than 1324 with --listen-port.",
        reader: Reader::Both,
        reload: false,
    },
    Key {
        name: "direct",
        kind: r#"string, "off", "public" or "any""#,
        default: r#""public""#,
        doc: "Destinations of connections that were made to the daemon itself and not redirected, as by \
              a client that was patched for it. \"off\" serves none, \"public\" globally routable \
              addresses on the ports of direct_ports, \"any\" every unicast address and port, loopback \
              too: for tests and labs.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "direct_ports",
        kind: "array of integers, at least 1 port",
        default: "[8333, 18333, 38333, 48333, 18444]",
        doc: "Ports that direct = \"public\" may dial. A redirected connection goes where it was bound \
              for, whatever the port.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "fallback",
        kind: r#"string, "reject" or "v1""#,
        default: r#""reject""#,
        doc: "What to do when a peer does not speak v2. \"reject\" refuses the client. \"v1\" dials once \
              more and speaks v1, in plaintext, as Bitcoin Core does, where the peer closed or kept \
              silent without a single byte in answer: anybody on the path can provoke that.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "passthrough",
        kind: "boolean",
        default: "true",
        doc: "Whether redirected clients that speak v2 themselves are passed through untouched. Otherwise \
              they are refused.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "user_agent_suffix",
        kind: "boolean",
        default: "false",
        doc: "Whether the name of this program is appended to the user agent that peers see.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "max_sessions",
        kind: "integer, 1 to 250000",
        default: "512",
        doc: "Sessions at a time; connections beyond them are reset. A quarter is kept for connections \
              that were redirected.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "max_direct_per_user",
        kind: "integer, 1 to 250000",
        default: "32",
        doc: "Sessions that one user may have by connections that were not redirected.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "max_memory",
        kind: "integer, 32 to 1048576, in MiB",
        default: "256",
        doc: "Memory of all sessions together, in MiB: beyond it the session that wants more ends. Half \
              of it is kept for connections that were redirected. Where this key is left out it is half \
              a MiB for each of max_sessions, and at least 64 MiB.",
        reader: Reader::Daemon,
        reload: true,
    },
    Key {
        name: "control",
        kind: "string, an absolute path",
        default: r#""/run/bip324-proxy/control.sock""#,
        doc: "Unix socket by which bip324ctl and others reach the daemon, for its own user and group. If \
              there can be none at a path that is named here, the daemon does not start; at the default \
              it does without. To be left out where a systemd socket unit has the path: both together \
              are refused.",
        reader: Reader::Daemon,
        reload: false,
    },
    Key {
        name: "metrics",
        kind: r#"string, "off", "127.0.0.1:PORT", "[::1]:PORT" or "unix:/PATH""#,
        default: r#""off""#,
        doc: "Where Prometheus and its like may ask for metrics, in OpenMetrics, at /metrics: a port of a \
              loopback address, to every user of this host, or a Unix socket, to the daemon's group. \
              They hold no address. The service's unit lets it have port 1325, and paths in \
              /run/bip324-metrics.",
        reader: Reader::Daemon,
        reload: false,
    },
    Key {
        name: "log",
        kind: r#"string, "off", "error", "warn", "info", "debug" or "trace""#,
        default: r#""info""#,
        doc: "Log level. Addresses and session ids appear from debug on.",
        reader: Reader::Daemon,
        reload: true,
    },
];
