//! Payloads as they are on mainnet, in size and form: a proxy may decode them.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, WPubkeyHash, Witness, transaction,
};

/// As many transactions as fit into `size` bytes, 7,008 in 1.64 MB.
pub(crate) fn block(size: usize) -> Vec<u8> {
    let transaction = transaction_of_234_bytes();
    let count = (size - HEADER_AND_COUNT) / transaction.total_size();
    serialize(&Block { header: header(), txdata: vec![transaction; count] })
}

/// As many headers as a message may have.
pub(crate) fn headers() -> Vec<u8> {
    // Each is followed by the count of its transactions, which is zero.
    let header = [serialize(&header()), vec![0]].concat();
    [&[0xFD, 0xD0, 0x07], header.repeat(2000).as_slice()].concat()
}

/// One input, and two outputs: a payment and its change.
pub(crate) fn transaction() -> Vec<u8> {
    serialize(&transaction_of_234_bytes())
}

/// One transaction is announced.
pub(crate) fn inventory() -> Vec<u8> {
    serialize(&vec![Inventory::WTx(bitcoin::Wtxid::from_byte_array([5; 32]))])
}

fn header() -> Header {
    Header {
        version: Version::TWO,
        prev_blockhash: BlockHash::from_byte_array([1; 32]),
        merkle_root: TxMerkleNode::from_byte_array([2; 32]),
        time: 1_700_000_000,
        bits: CompactTarget::from_consensus(0x1703_4219),
        nonce: 3,
    }
}

fn transaction_of_234_bytes() -> Transaction {
    let hash = WPubkeyHash::from_byte_array([3; 20]);
    // OP_1 and a key: pay to taproot.
    let taproot = ScriptBuf::from_bytes([&[0x51, 32][..], &[4; 32]].concat());
    let outputs = [ScriptBuf::new_p2wpkh(&hash), taproot];
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([6; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[&[7; 71][..], &[8; 33]]),
        }],
        output: outputs
            .map(|script_pubkey| TxOut { value: Amount::from_sat(90_000), script_pubkey })
            .into(),
    }
}

const HEADER_AND_COUNT: usize = 80 + 3;
