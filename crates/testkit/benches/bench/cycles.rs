//! Whether sessions leave anything behind: descriptors, threads, memory.

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target};

use crate::ends::Node;
use crate::options::Options;
use crate::proxy::Proxy;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let sockets = proxy.vitals()?.sockets;
    let run = |cycles: usize| {
        for _ in 0..cycles {
            node.open(proxy.address)?;
        }
        proxy.wait_for_sockets(sockets)?;
        Ok::<_, anyhow::Error>((proxy.vitals()?, proxy.memory_at_rest()?))
    };
    let (early, early_memory) = run(WARM_UP)?;
    let (late, late_memory) = run(CYCLES)?;
    let row = |what: &str, late: f64, early: f64, limit| {
        let name = format!("{what} after 4,000 cycles");
        let rounds = Paired::from_iter([(late, early)]);
        Row::Measured(Figure::paired(&name, "", &rounds, Target::AtMost(limit)))
    };
    Ok(vec![
        row("descriptors", late.descriptors as f64, early.descriptors as f64, 1.0),
        row("tasks", late.threads as f64, early.threads as f64, 1.0),
        row("RSS in KiB", late_memory, early_memory, NOISE),
    ])
}

const CYCLES: usize = 4000;

/// Cycles before the first look: for as long as that, the allocator gets to keep a little more.
const WARM_UP: usize = 4000;

/// A page here and there comes and goes.
const NOISE: f64 = 1.02;
