//! The command line.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bip324_config::{
    Direct, Error, FOLDER, Fallback, GroupName, Layers, Log, MAX_MEMORY, Metrics, SESSIONS,
    Settings, UnknownName,
};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};

/// Gives Bitcoin clients encrypted BIP324 connections, without their knowing.
///
/// Runs as a user and group of its own; bip324-setup makes the kernel redirect the clients here. What
/// the command line leaves out is taken from the configuration files, and what those leave out is the
/// default. SIGHUP reads the files again.
#[derive(Debug, Parser)]
#[command(name = "bip324-proxy", version)]
pub struct Cli {
    /// Configuration file [default: /etc/bip324-proxy/config.toml and config.d/*.toml there, as far as
    /// there are any]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only say whether the configuration can be used
    #[arg(long)]
    pub check_config: bool,
    /// Only print the configuration that is in effect, and where each part of it comes from
    #[arg(long, conflicts_with = "check_config")]
    pub print_config: bool,
    /// Address to listen on; repeat for more. Replaces both defaults. Not together with sockets of a
    /// service manager [default: port 1324 of 127.0.0.1 and ::1]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// The clients' group, which the daemon refuses to run as [default: bip324, where it exists]
    #[arg(long, value_name = "NAME")]
    group: Option<GroupName>,
    /// Destinations of connections that were not redirected [default: public]
    #[arg(long, value_parser = named::<Direct>(Direct::NAMES))]
    direct: Option<Direct>,
    /// What to do when a peer does not speak v2 [default: reject]
    #[arg(long, value_parser = named::<Fallback>(Fallback::NAMES))]
    fallback: Option<Fallback>,
    /// Splice clients through that speak v2 themselves [default: on]
    #[arg(long)]
    passthrough: Option<Switch>,
    /// Port that `--direct public` may dial; repeat for more [default: 8333 18333 38333 48333 18444]
    #[arg(long, value_name = "PORT")]
    port: Vec<NonZeroU16>,
    /// Append bip324-proxy to the user agent that peers see [default: off]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    user_agent_suffix: Option<Switch>,
    /// Sessions at a time; connections beyond them are reset. A quarter is kept for connections that
    /// were redirected [default: 512]
    #[arg(long, value_name = "N", value_parser = parse_sessions)]
    max_sessions: Option<usize>,
    /// Sessions that one user may have by connections that were not redirected [default: 32]
    #[arg(long, value_name = "N", value_parser = parse_sessions)]
    max_direct_per_user: Option<usize>,
    /// Memory of all sessions together, in MiB: beyond it the session that wants more ends. Half of it
    /// is kept for connections that were redirected
    /// [default: half a MiB for each of --max-sessions, at least 64]
    #[arg(long, value_name = "MIB", value_parser = parse_memory)]
    max_memory: Option<usize>,
    /// Where bip324ctl and others reach the daemon: a Unix socket. If there can be none at a path that
    /// is named here, the daemon does not start [default: /run/bip324-proxy/control.sock, as far as
    /// that can be]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Where to serve metrics at /metrics, in OpenMetrics: a port of a loopback address, or unix:/PATH
    /// [default: off]
    #[arg(long, value_name = "ADDRESS:PORT|unix:/PATH")]
    metrics: Option<Metrics>,
    /// Log level. Addresses and session ids appear from debug on [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = named::<Log>(Log::NAMES))]
    log: Option<Log>,
    /// Restrict this process as the daemon does, try what is forbidden, print what is in force, and
    /// exit; with 0 if that is all that this kernel has
    #[arg(long)]
    pub sandbox_status: bool,
}

/// `on` or `off` on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

impl Cli {
    /// This command line over the files over the defaults. Reads the files each time.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn configuration(&self) -> Result<Layers, Error> {
        Layers::read(self.file.as_deref(), Path::new(FOLDER), self.settings())
    }

    /// The folder that the files are in.
    pub fn folder(&self) -> &Path {
        match self.file.as_deref().map(Path::parent) {
            None => Path::new(FOLDER),
            Some(Some(folder)) if folder != Path::new("") => folder,
            Some(_) => Path::new("."),
        }
    }

    /// What the arguments say.
    fn settings(&self) -> Settings {
        let is_on = |switch| switch == Switch::On;
        Settings {
            group: self.group.clone(),
            listen: (!self.listen.is_empty()).then(|| self.listen.clone()),
            direct: self.direct,
            direct_ports: (!self.port.is_empty()).then(|| BTreeSet::from_iter(self.port.clone())),
            fallback: self.fallback,
            passthrough: self.passthrough.map(is_on),
            user_agent_suffix: self.user_agent_suffix.map(is_on),
            max_sessions: self.max_sessions,
            max_direct_per_user: self.max_direct_per_user,
            max_memory: self.max_memory,
            control: self.control.clone(),
            metrics: self.metrics.clone(),
            log: self.log,
            ..Settings::default()
        }
    }
}

fn named<T>(names: &'static [(&str, &str)]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    let values = names.iter().map(|(name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<T>())
}

fn parse_sessions(text: &str) -> Result<usize, String> {
    let sessions = text.parse().ok().filter(|sessions| SESSIONS.contains(sessions));
    let (first, last) = SESSIONS.into_inner();
    sessions.ok_or_else(|| format!("not a number from {first} to {last}"))
}

fn parse_memory(text: &str) -> Result<usize, String> {
    let memory = text.parse().ok().filter(|memory| MAX_MEMORY.contains(memory));
    let (first, last) = MAX_MEMORY.into_inner();
    memory.ok_or_else(|| format!("not a number of MiB from {first} to {last}"))
}

#[cfg(test)]
mod tests {
    use bip324_config::{KEYS, Reader};
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bip324-proxy"].into_iter().chain(arguments.split_whitespace()))
    }

    #[test]
    fn no_arguments_say_nothing() {
        assert_eq!(parse("").unwrap().settings(), Settings::default());
    }

    #[test]
    fn every_argument_arrives() {
        let said = parse(
            "--listen 127.0.0.1:9 --listen [::1]:9 --group g --direct any --fallback v1 \
             --passthrough off --port 1 --port 2 --user-agent-suffix --max-sessions 3 \
             --max-direct-per-user 2 --max-memory 100 --control /c \
             --metrics unix:/x --log debug",
        );
        let said = said.unwrap().settings();
        let listen = ["127.0.0.1:9", "[::1]:9"].map(|address| address.parse().unwrap());
        let ports = [1, 2].into_iter().filter_map(NonZeroU16::new).collect();
        let expected = Settings {
            group: Some("g".parse().unwrap()),
            listen: Some(listen.into()),
            direct: Some(Direct::Any),
            direct_ports: Some(ports),
            fallback: Some(Fallback::V1),
            passthrough: Some(false),
            user_agent_suffix: Some(true),
            max_sessions: Some(3),
            max_direct_per_user: Some(2),
            max_memory: Some(100),
            control: Some("/c".into()),
            metrics: Some(Metrics::Unix("/x".into())),
            log: Some(Log::Debug),
            ..Settings::default()
        };
        assert_eq!(said, expected);
        let off = parse("--user-agent-suffix=off --passthrough on").unwrap().settings();
        assert_eq!((off.user_agent_suffix, off.passthrough), (Some(false), Some(true)));
    }

    #[test]
    fn senseless_values_are_refused() {
        for arguments in [
            "--listen nonsense",
            "--group 995",
            "--port 0",
            "--port 65536",
            "--max-sessions 0",
            "--max-sessions 250001",
            "--max-direct-per-user 0",
            "--max-memory 31",
            "--max-memory 1048577",
            "--direct maybe",
            "--fallback v2",
            "--passthrough maybe",
            "--user-agent-suffix=maybe",
            "--metrics 0.0.0.0:1325",
            "--metrics x",
            "--log loud",
            "--check-config --print-config",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
    }

    #[test]
    fn the_folder_is_the_file_s() {
        for (arguments, folder) in [
            ("", "/etc/bip324-proxy"),
            ("--config /a/b.toml", "/a"),
            ("--config b.toml", "."),
            ("--config /b.toml", "/"),
        ] {
            assert_eq!(parse(arguments).unwrap().folder(), Path::new(folder), "{arguments}");
        }
    }

    /// Each key that the daemon reads can be given, and its help names the default of the table.
    #[test]
    fn the_help_agrees_with_the_table_of_keys() {
        let command = Cli::command();
        for key in KEYS.iter().filter(|key| key.reader != Reader::Setup) {
            let id = if key.name == "direct_ports" { "port" } else { key.name };
            let found = command.get_arguments().find(|argument| argument.get_id() == id);
            let help = found.unwrap().get_help().unwrap().to_string();
            let default = match key.name {
                "max_memory" => "half a MiB for each of --max-sessions, at least 64".to_owned(),
                "group" => "bip324, where it exists".to_owned(),
                "control" => "/run/bip324-proxy/control.sock, as far as that can be".to_owned(),
                "listen" => "port 1324 of 127.0.0.1 and ::1".to_owned(),
                "direct_ports" => key.default.replace(['[', ']', ','], ""),
                _ => key.default.replace('"', "").replace("true", "on").replace("false", "off"),
            };
            assert!(help.contains(&format!("[default: {default}]")), "{id}: {help}");
        }
    }
}
