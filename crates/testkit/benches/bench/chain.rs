//! A regtest chain of full blocks, made once and kept beside the real programs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bip324_testkit::lab::Lab;
use bip324_testkit::node::Node;
use bip324_testkit::prerequisite::{real, real_programs};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use serde_json::Value;

/// Height of its last block.
pub(crate) const HEIGHT: u32 = MATURE + FULL;

/// The folder of a node that has it. Made where it is not there.
pub(crate) fn folder(lab: &Lab) -> Result<PathBuf> {
    real("bitcoind")?;
    let folder = real_programs()?.join(format!("chain-{FULL}x{BLOCK}"));
    if !folder.exists() {
        let unfinished = folder.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        make(lab, unfinished.clone()).context("making the chain")?;
        fs::rename(unfinished, &folder)?;
    }
    Ok(folder)
}

fn make(lab: &Lab, folder: PathBuf) -> Result<()> {
    println!("making {} MB of blocks, once ...", FULL as usize * BLOCK / 1_000_000);
    let node = Node::keeping(lab, folder)?;
    node.rpc(&["generatetodescriptor", &MATURE.to_string(), &descriptor()])?;
    let first = node.rpc(&["getblock", &node.rpc(&["getblockhash", "1"])?])?;
    let first: Value = serde_json::from_str(&first)?;
    let coinbase = first.pointer("/tx/0").and_then(Value::as_str).context("no coinbase")?;
    let mut spent: Txid = coinbase.parse()?;
    for number in 0..FULL {
        let transaction = transaction(spent, number);
        let hex = serialize_hex(&transaction);
        node.rpc_with_lines(&["generateblock"], &format!("{}\n[\"{hex}\"]\n", descriptor()))?;
        spent = transaction.compute_txid();
    }
    node.stop()
}

/// Spends an output like its own, with a witness that fills a block.
fn transaction(spent: Txid, number: u32) -> Transaction {
    let filling =
        (0..BLOCK - OVERHEAD).map(|place| (place as u32 ^ number) as u8 ^ (place >> 8) as u8);
    let input = TxIn {
        previous_output: OutPoint::new(spent, 0),
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[filling.collect::<Vec<_>>()]),
    };
    let output = TxOut { value: Amount::from_int_btc(50), script_pubkey: anyone().into() };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

/// A witness program of a version that means nothing yet: anyone may spend it, by any witness.
fn anyone() -> Vec<u8> {
    [&[0x52, 32][..], &[7; 32]].concat()
}

fn descriptor() -> String {
    let digits: Vec<_> = anyone().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("raw({})", digits.concat())
}

/// Blocks until the first output may be spent.
const MATURE: u32 = 101;

/// Full blocks, and bytes of each.
const FULL: u32 = 190;
const BLOCK: usize = 1_640_000;

/// Bytes of a block around the witness, at most.
const OVERHEAD: usize = 600;
