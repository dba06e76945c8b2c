//! Transactions of ordinary shapes and sizes, without keys.

use anyhow::{Context, Result, ensure};
use bip324_testkit::rpc::Rpc;
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::opcodes::all::{OP_2DROP, OP_PUSHNUM_1};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use serde_json::{Value, json};

/// An output that anybody may spend, by as much as a signature and a key.
#[derive(Clone, Copy)]
pub(crate) struct Coin {
    place: OutPoint,
    value: u64,
}

/// Inputs and outputs, and of how many in 100 transactions.
pub(crate) const SHAPES: [(usize, usize, u64); 6] =
    [(1, 2, 60), (1, 1, 15), (2, 2, 10), (1, 10, 7), (3, 1, 5), (10, 1, 3)];

/// Mines `wanted` coins and some more, and confirms them.
pub(crate) fn mine(rpc: &mut Rpc, wanted: usize) -> Result<Vec<Coin>> {
    let splits = wanted.div_ceil(SPLIT);
    generate(rpc, 100 + splits)?;
    let mut coins = Vec::new();
    for height in 1..=splits {
        let hash = rpc.call("getblockhash", &json!([height]))?;
        let block = rpc.call("getblock", &json!([hash]))?;
        let coinbase = block.pointer("/tx/0").and_then(Value::as_str).context("no coinbase")?;
        let place = OutPoint::new(coinbase.parse()?, 0);
        let coin = Coin { place, value: Amount::from_int_btc(50).to_sat() };
        let split = transaction(&[coin], SPLIT);
        send(rpc, &split)?;
        let txid = split.compute_txid();
        coins.extend((0..).zip(&split.output).map(|(vout, output)| Coin {
            place: OutPoint::new(txid, vout),
            value: output.value.to_sat(),
        }));
        // Unconfirmed they could have 25 descendants at most.
        generate(rpc, 1)?;
    }
    let waiting = rpc.call("getmempoolinfo", &json!([]))?;
    ensure!(waiting.get("size").and_then(Value::as_u64) == Some(0), "{waiting}");
    Ok(coins)
}

/// Mines blocks of all that waits.
pub(crate) fn generate(rpc: &mut Rpc, count: usize) -> Result<()> {
    let script = script().to_p2wsh();
    let digits: Vec<_> = script.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let script = digits.concat();
    rpc.call("generatetodescriptor", &json!([count, format!("raw({script})")])).map(drop)
}

pub(crate) fn send(rpc: &mut Rpc, transaction: &Transaction) -> Result<()> {
    rpc.call("sendrawtransaction", &json!([serialize_hex(transaction)])).map(drop)
}

/// Spends `coins` to so many outputs, less a fee.
pub(crate) fn transaction(coins: &[Coin], outputs: usize) -> Transaction {
    let input = |coin: &Coin| TxIn {
        previous_output: coin.place,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[&[7; 72][..], &[2; 33], script().as_bytes()]),
    };
    let value: u64 = coins.iter().map(|coin| coin.value).sum();
    let fee = FEE * (10 + 70 * coins.len() + 43 * outputs) as u64;
    let value = Amount::from_sat((value - fee) / outputs as u64);
    let output = TxOut { value, script_pubkey: script().to_p2wsh() };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: vec![output; outputs],
    }
}

/// Takes a signature and a key for what they are.
fn script() -> ScriptBuf {
    ScriptBuf::builder().push_opcode(OP_2DROP).push_opcode(OP_PUSHNUM_1).into_script()
}

/// Outputs of one transaction.
const SPLIT: usize = 1000;

/// Satoshi for a virtual byte.
const FEE: u64 = 10;
