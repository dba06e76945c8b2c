import java.io.OutputStream;
import java.net.InetAddress;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import org.bitcoinj.base.BitcoinNetwork;
import org.bitcoinj.core.Block;
import org.bitcoinj.core.BlockChain;
import org.bitcoinj.core.Context;
import org.bitcoinj.core.NetworkParameters;
import org.bitcoinj.core.PeerAddress;
import org.bitcoinj.core.PeerGroup;
import org.bitcoinj.core.listeners.DownloadProgressTracker;
import org.bitcoinj.store.MemoryBlockStore;

/**
 * Runs bitcoinj, the library inside Bisq and many Android wallets, against one node: it syncs
 * headers up to a height, then fetches that block.
 *
 * <pre>
 * bitcoinj-sync regtest 203.0.113.2:8333 120
 * bitcoinj-sync regtest '[fd00:b324::2]:8333' 120
 * </pre>
 *
 * It prints "synced height=N block=...", keeps its connection until standard input ends (at once
 * with &lt;/dev/null) and exits 0; or it prints why not and exits 1. It keeps nothing on disk; its
 * log goes to stderr. bitcoinj drops a peer that has not sent VERSION 5 s after the dial, and dials
 * again. First of all it probes 127.0.0.1 at the network's own port for a node.
 */
public final class BitcoinjSync {
    private static final long TIMEOUT_SECONDS = 60;

    public static void main(String[] args) {
        if (args.length != 3) {
            System.err.println("usage: bitcoinj-sync mainnet|regtest PEER:PORT HEIGHT");
            System.exit(64);
        }
        try {
            sync(network(args[0]), peer(args[1]), Integer.parseInt(args[2]));
            System.exit(0);
        } catch (Exception error) {
            System.err.println("bitcoinj-sync: " + error);
            System.exit(1);
        }
    }

    private static BitcoinNetwork network(String name) {
        switch (name) {
            case "mainnet":
                return BitcoinNetwork.MAINNET;
            case "regtest":
                return BitcoinNetwork.REGTEST;
            default:
                throw new IllegalArgumentException("network " + name + ": neither mainnet nor regtest");
        }
    }

    private static PeerAddress peer(String text) throws Exception {
        Matcher parts = Pattern.compile("\\[?([0-9a-fA-F.:]+?)\\]?:([0-9]+)").matcher(text);
        if (!parts.matches()) {
            throw new IllegalArgumentException("peer " + text + ": neither IPv4:PORT nor [IPv6]:PORT");
        }
        return PeerAddress.simple(InetAddress.getByName(parts.group(1)), Integer.parseInt(parts.group(2)));
    }

    private static void sync(BitcoinNetwork network, PeerAddress address, int height) throws Exception {
        Context.propagate(new Context());
        Block genesis = NetworkParameters.of(network).getGenesisBlock();
        BlockChain chain = new BlockChain(network, new MemoryBlockStore(genesis));
        PeerGroup group = new PeerGroup(network, chain);
        group.addAddress(address);
        // Before the start: a peer that connects earlier than this is never asked for blocks.
        DownloadProgressTracker progress = new DownloadProgressTracker();
        group.startBlockChainDownload(progress);
        group.start();
        try {
            progress.getFuture().get(TIMEOUT_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            throw new IllegalStateException("at height " + chain.getBestChainHeight() + " of " + height
                + " after " + TIMEOUT_SECONDS + " s, " + group.numConnectedPeers() + " peers connected");
        }
        if (chain.getBestChainHeight() < height) {
            throw new IllegalStateException("the node has only " + chain.getBestChainHeight() + " blocks");
        }
        Block tip = group.getDownloadPeer()
            .getBlock(chain.getChainHead().getHeader().getHash())
            .get(TIMEOUT_SECONDS, TimeUnit.SECONDS);
        System.out.println("synced height=" + chain.getBestChainHeight() + " block=" + tip.getHashAsString());
        System.in.transferTo(OutputStream.nullOutputStream());
        group.stop();
    }
}
