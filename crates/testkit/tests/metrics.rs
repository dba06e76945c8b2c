//! The daemon's metrics, read by Prometheus itself and by the strict parser of its Python client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::process::{Process, output_with_input};
use bip324_testkit::rules;
use bip324_testkit::v1::V1Client;
use bip324_testkit::wait::{PATIENCE, wait_for};
use serde_json::Value;

const NETWORK: Network = Network::Regtest;

const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1325);
const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The body of what the host's own `address` has at `path`.
fn fetch(lab: &Lab, address: SocketAddr, path: &str) -> Result<String> {
    // Prometheus, which is the same user here, may have the daemon's attention.
    wait_for("no 503", PATIENCE, || {
        let answer = ask(lab, address, path)?;
        if answer.starts_with("HTTP/1.1 503 ") {
            return Ok(None);
        }
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        ensure!(head.contains(" 200 OK"), "{path}: {answer}");
        Ok(Some(body.to_owned()))
    })
}

fn ask(lab: &Lab, address: SocketAddr, path: &str) -> Result<String> {
    lab.host.run(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // 1.0: no answer in chunks. In one piece: a 503 closes, and would reset what comes second.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        // A 503 to what nobody read may end in a reset.
        let end = stream.read_to_string(&mut answer);
        if answer.is_empty() {
            end?;
        }
        Ok(answer)
    })
}

/// What Prometheus answers at this path of its interface.
fn ask_prometheus(lab: &Lab, path: &str) -> Result<Value> {
    Ok(serde_json::from_str(&fetch(lab, PROMETHEUS, &format!("/api/v1/{path}"))?)?)
}

/// The value of the one series that this selects: letters, digits and what needs no escape in a URL.
fn value(lab: &Lab, query: &str) -> Result<Option<f64>> {
    let answer = ask_prometheus(lab, &format!("query?query={query}"))?;
    let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
    Ok(value.map(str::parse).transpose()?)
}

/// Sessions of both families, with a real node.
fn traffic(lab: &Lab) -> Result<Vec<V1Client>> {
    let mut clients = Vec::new();
    for family in Family::BOTH {
        let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
        client.handshake()?;
        for nonce in 0..5 {
            client.ping(nonce)?;
        }
        clients.push(client);
    }
    Ok(clients)
}

/// `series`, as the daemon itself tells it.
fn told(text: &str, series: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series} in\n{text}"))?.parse()?)
}

#[test]
fn prometheus_scrapes_what_the_daemon_tells() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &["--metrics", &METRICS.to_string()])?;
        let mut prometheus = start_prometheus(lab)?;
        wait_for("a first scrape", 2 * PATIENCE, || {
            prometheus.still_runs()?;
            Ok((value(lab, "up").ok().flatten() == Some(1.0)).then_some(()))
        })?;
        ensure!(value(lab, "bip324_sessions_limit")? == Some(512.0));

        let _clients = traffic(lab)?;
        for query in [
            "bip324_sessions{kind=\"v2\"}",
            "bip324_messages_total{direction=\"to_peer\",type=\"ping\"}",
            "bip324_messages_total{direction=\"to_client\",type=\"pong\"}",
            "bip324_handshake_seconds_count",
            "bip324_handshake_seconds_bucket{le=\"%2BInf\"}",
        ] {
            let series = query.replace("%2B", "+");
            wait_for(query, PATIENCE, || {
                let told = told(&fetch(lab, METRICS, "/metrics")?, &series)?;
                let query = query.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
                let seen = value(lab, &query)?;
                Ok((told >= 2.0 && seen == Some(told)).then_some(()))
            })?;
        }
        // The older text format tells no unit: it was read as OpenMetrics.
        let about = ask_prometheus(lab, "targets/metadata?metric=bip324_handshake_seconds")?;
        let of = |field: &str| about.pointer(&format!("/data/0/{field}")).and_then(Value::as_str);
        ensure!(of("unit") == Some("seconds") && of("type") == Some("histogram"), "{about}");
        Ok(())
    })
}

/// packaging/grafana: Prometheus itself answers each question of each panel, from a real scrape.
#[test]
fn every_panel_of_the_grafana_dashboard_has_data() -> Result<()> {
    let board: Value = serde_json::from_str(BOARD)?;
    let panels = board["panels"].as_array().context("no panels")?;
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &["--metrics", &METRICS.to_string()])?;
        let mut prometheus = start_prometheus(lab)?;
        wait_for("a first scrape", 2 * PATIENCE, || {
            prometheus.still_runs()?;
            Ok((value(lab, "up").ok().flatten() == Some(1.0)).then_some(()))
        })?;
        let _clients = traffic(lab)?;
        // One that leaves is a refusal.
        drop(V1Client::redirected(lab, NETWORK, Family::V4.peer())?);
        for panel in panels {
            let targets = panel["targets"].as_array().context("a panel without a question")?;
            ensure!(!targets.is_empty(), "{panel}");
            for target in targets {
                let question = target["expr"].as_str().context("no expression")?;
                ensure!(question.contains("{instance=~\"$instance\""), "of all hosts: {question}");
                let asked = question.replace("$instance", ".*").replace("$__rate_interval", "1m");
                wait_for(question, PATIENCE, || {
                    let answer = ask_prometheus(lab, &format!("query?query={}", escaped(&asked)))?;
                    let series = answer.pointer("/data/result").and_then(Value::as_array);
                    Ok(series.is_some_and(|series| !series.is_empty()).then_some(()))
                })?;
            }
        }
        Ok(())
    })
}

/// As a part of a URL.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat()
}

const BOARD: &str = include_str!("../../../packaging/grafana/bip324-proxy.json");

fn start_prometheus(lab: &Lab) -> Result<Process> {
    let folder = lab.folder().join("prometheus");
    std::fs::create_dir(&folder)?;
    let file = folder.join("prometheus.yml");
    std::fs::write(
        &file,
        format!(
            "scrape_configs:\n  - job_name: bip324\n    scrape_interval: 200ms\n    \
             scrape_timeout: 200ms\n    static_configs:\n      - targets: ['{METRICS}']\n"
        ),
    )?;
    let words = [
        lab.real("prometheus")?,
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={PROMETHEUS}"),
        "--log.level=warn".to_owned(),
    ];
    let command = lab.command(&lab.host, Identity::Root, &words)?;
    Process::spawn("prometheus", command, lab.folder())
}

#[test]
fn the_strict_parser_takes_every_family() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &["--metrics", &METRICS.to_string()])?;
        let _clients = traffic(lab)?;
        let text = fetch(lab, METRICS, "/metrics")?;
        let parsed = parse(&text)?;
        let families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
        ensure!(families.len() == 20 && parsed.lines().count() == families.len(), "{parsed}");
        for line in
            ["bip324_handshake_seconds histogram seconds", "bip324_traffic_bytes counter bytes"]
        {
            ensure!(parsed.lines().any(|parsed| parsed == line), "{line}?\n{parsed}");
        }
        // It is strict: half of the text is none.
        let half = text.get(..text.len() / 2).context("not ASCII")?;
        ensure!(parse(half).is_err(), "it takes anything");
        Ok(())
    })
}

/// Name, type and unit of each family, as the parser sees them.
fn parse(text: &str) -> Result<String> {
    // Debian's own, which has the module.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", PARSE]);
    let parsed = output_with_input(command, text.as_bytes());
    let parsed = parsed.context("if there is no prometheus_client: ./scripts/get prometheus")?;
    Ok(String::from_utf8(parsed.stdout)?)
}

const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, family.unit)
";
