//! What the daemon says of itself, as OpenMetrics: read as it is asked for, counted nowhere twice.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bip324_control::{ByKind, Flow, Handshakes, Status, Traffic, TypeCount};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::stats::{Overview, Reason};

/// Every family, ready to be written.
#[derive(Debug)]
pub(super) struct Families(Registry);

/// Where their values come from.
#[derive(Debug)]
struct Source {
    overview: Overview,
    /// Seconds since 1970.
    started: f64,
}

impl Families {
    pub(super) fn new(overview: Overview) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut registry = Registry::with_prefix("bip324");
        registry.register_collector(Box::new(Source { overview, started: now.as_secs_f64() }));
        Self(registry)
    }

    /// All of them, `# EOF` at the end.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // To a string: nothing can fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.overview.status();
        let mut families = Encoder(&mut encoder);
        families.info("build", "What runs", &[("version", &status.version)])?;
        families.gauge("start_time", "When it was started", SECONDS, self.started)?;
        families.sessions(&status)?;
        families.connections(&status, self.overview.stats.accept_backoffs())?;
        families.handshakes(&status.handshakes)?;
        families.traffic(&status.traffic)?;
        families.gauge("memory", "Of sessions' buffers and states now", BYTES, status.memory)?;
        let limit = status.limits.max_memory;
        families.gauge("memory_limit", "Of sessions' buffers and states, allowed", BYTES, limit)
    }
}

struct Encoder<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Encoder<'_, '_> {
    fn sessions(&mut self, status: &Status) -> fmt::Result {
        let by_kind = |ByKind { v2, passthrough, fallback }| {
            let kinds = [("v2", v2), ("passthrough", passthrough), ("fallback", fallback)];
            kinds.map(|(kind, count)| ([("kind", kind)], count))
        };
        let help = "Sessions that are established now, by how they reach their peers";
        self.gauges("sessions", help, &by_kind(status.sessions))?;
        self.gauge(
            "sessions_limit",
            "Sessions at a time, allowed",
            None,
            status.limits.max_sessions,
        )?;
        let help = "Sessions established since the start";
        self.counters("sessions_established", help, None, by_kind(status.served))?;
        let help = "Sessions in plaintext, to peers without v2, as fallback = v1 allows";
        self.counter("fallbacks", help, status.served.fallback)?;
        self.counter("session_panics", "Sessions ended by a bug", status.panics)
    }

    fn connections(&mut self, status: &Status, backoffs: u64) -> fmt::Result {
        let help = "Connections accepted, whatever became of them";
        self.counter("connections_accepted", help, status.accepted)?;
        self.counter("canaries", "Connections that proved the redirect", status.canaries)?;
        let refused = |reason: Reason| status.refused.get(reason.name()).copied().unwrap_or(0);
        let help = "Connections refused or broken off, by reason";
        let refusals = Reason::ALL.map(|reason| ([("reason", reason.name())], refused(reason)));
        self.counters("refusals", help, None, refusals)?;
        let help = "Peers that spoke v2 within a day and then did not answer it";
        self.counter("possible_downgrades", help, refused(Reason::Downgrade))?;
        let help = "Times that no connection could be accepted, as for want of descriptors";
        self.counter("accept_failures", help, status.accept_failures)?;
        self.counter("accept_backoffs", "Episodes of such failures", backoffs)
    }

    fn handshakes(&mut self, handshakes: &Handshakes) -> fmt::Result {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let (mut buckets, mut below) = (Vec::new(), 0);
        for &(end, count) in &handshakes.buckets {
            buckets.push((seconds(end), count.saturating_sub(below)));
            below = count;
        }
        buckets.push((f64::INFINITY, handshakes.count.saturating_sub(below)));
        let help = "From accept to an established v2 session";
        let kind = MetricType::Histogram;
        let mut metric = self.0.encode_descriptor("handshake", help, SECONDS, kind)?;
        let sum = seconds(handshakes.sum);
        metric.encode_histogram::<NoLabelSet>(sum, handshakes.count, &buckets, None)
    }

    fn traffic(&mut self, traffic: &Traffic) -> fmt::Result {
        let both_sides = |kind, direction, flow: &Flow| {
            [("client", flow.client_bytes), ("peer", flow.peer_bytes)].map(|(side, bytes)| {
                ([("kind", kind), ("direction", direction), ("side", side)], bytes)
            })
        };
        let bytes = [
            both_sides("v2", TO_PEER, &traffic.v2_to_peer),
            both_sides("v2", TO_CLIENT, &traffic.v2_to_client),
            both_sides("spliced", TO_PEER, &traffic.spliced_to_peer),
            both_sides("spliced", TO_CLIENT, &traffic.spliced_to_client),
        ];
        let help = "Bytes by side: v1 on the client's and v2 on the peer's, unless spliced";
        self.counters("traffic", help, BYTES, bytes.into_iter().flatten())?;

        let dropped = [(TO_PEER, &traffic.v2_to_peer), (TO_CLIENT, &traffic.v2_to_client)];
        let dropped = dropped.map(|(direction, flow)| ([("direction", direction)], flow.dropped));
        let help = "Messages left out, which the other transport or the receiver would not take";
        self.counters("messages_dropped", help, None, dropped)?;

        let messages =
            types(traffic).map(|(direction, count)| (labels(direction, count), count.messages));
        self.counters("messages", "Messages translated, by type", None, messages)?;
        let bytes = types(traffic).flat_map(|(direction, count)| {
            [("client", count.client_bytes), ("peer", count.peer_bytes)].map(|(side, bytes)| {
                let [direction, name] = labels(direction, count);
                ([direction, name, ("side", side)], bytes)
            })
        });
        self.counters("message", "Bytes of messages translated, by type", BYTES, bytes)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str); 1]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(labels)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge<V>(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: V) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
        V: EncodeGaugeValue,
    {
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn counters<'v, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = ([(&'v str, &'v str); N], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: &[([(&str, &str); 1], u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
        }
        Ok(())
    }
}

/// Each type and its direction.
fn types(traffic: &Traffic) -> impl Iterator<Item = (&'static str, &TypeCount)> {
    let up = traffic.types_to_peer.iter().map(|count| (TO_PEER, count));
    up.chain(traffic.types_to_client.iter().map(|count| (TO_CLIENT, count)))
}

fn labels<'a>(direction: &'a str, count: &'a TypeCount) -> [(&'a str, &'a str); 2] {
    [("direction", direction), ("type", &count.name)]
}

const TO_PEER: &str = "to_peer";
const TO_CLIENT: &str = "to_client";

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);
