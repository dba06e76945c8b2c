// Command neutrino-sync runs neutrino, the light client inside lnd, against one node: it syncs
// block headers and filter headers up to a height, then fetches that block and its filter.
//
//	neutrino-sync -network regtest -peer 203.0.113.2:8333 -datadir DIR -height 120
//	neutrino-sync -network regtest -peer '[fd00:b324::2]:8333' -datadir DIR -height 120
//
// It prints "synced height=N filter=... block=...", keeps its connection until standard input ends
// (at once with </dev/null) and exits 0; or it prints why not and exits 1. neutrino's own log goes
// to stderr. Use a fresh DIR each time: neutrino remembers there for a day which peers it has
// banned. The node needs -peerblockfilters=1 and a tip younger than a day.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/btcsuite/btclog"
	"github.com/btcsuite/btcwallet/walletdb"
	_ "github.com/btcsuite/btcwallet/walletdb/bdb"
	"github.com/lightninglabs/neutrino"
)

var networks = map[string]chaincfg.Params{
	"mainnet": chaincfg.MainNetParams,
	"regtest": chaincfg.RegressionNetParams,
}

type options struct {
	network string
	peer    string
	dataDir string
	height  int
	timeout time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.network, "network", "regtest", "mainnet or regtest")
	flag.StringVar(&o.peer, "peer", "", "the node, as 192.0.2.1:8333 or [2001:db8::1]:8333")
	flag.StringVar(&o.dataDir, "datadir", "", "folder for headers and peers, made if missing")
	flag.IntVar(&o.height, "height", 0, "the height to sync to")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "give up after this long")
	flag.Parse()

	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "neutrino-sync:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	params, known := networks[o.network]
	if !known {
		return fmt.Errorf("-network %q: neither mainnet nor regtest", o.network)
	}
	if o.peer == "" || o.dataDir == "" {
		return errors.New("-peer and -datadir are needed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	logTo(os.Stderr)

	db, err := openDatabase(o.dataDir)
	if err != nil {
		return err
	}
	defer db.Close()
	service, err := neutrino.NewChainService(neutrino.Config{
		DataDir:      o.dataDir,
		Database:     db,
		ChainParams:  params,
		ConnectPeers: []string{o.peer},
	})
	if err != nil {
		return err
	}
	if err := service.Start(ctx); err != nil {
		return err
	}
	defer service.Stop()

	if err := waitForHeight(ctx, service, int32(o.height)); err != nil {
		return err
	}
	if err := fetch(service, int64(o.height), o.timeout); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func logTo(stderr *os.File) {
	logger := btclog.NewBackend(stderr).Logger("NTRN")
	logger.SetLevel(btclog.LevelInfo)
	neutrino.UseLogger(logger)
}

func openDatabase(dataDir string) (walletdb.DB, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dataDir, "neutrino.db")
	return walletdb.Create("bdb", path, true, 10*time.Second, false)
}

// waitForHeight returns when both header chains have reached the height. neutrino must also hold
// itself to be current, except at height 0: the genesis block is years old.
func waitForHeight(ctx context.Context, service *neutrino.ChainService, height int32) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	reported := int32(-1)
	for {
		best, err := service.BestBlock()
		if err != nil {
			return err
		}
		if best.Height != reported {
			reported = best.Height
			fmt.Printf("height=%d\n", reported)
		}
		connected := service.ConnectedCount() > 0
		if connected && best.Height >= height && (height == 0 || service.IsCurrent()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("at height %d of %d, %d peers connected: %w",
				best.Height, height, service.ConnectedCount(), ctx.Err())
		case <-tick.C:
		}
	}
}

// fetch asks the node for the block at the height and for its filter.
func fetch(service *neutrino.ChainService, height int64, timeout time.Duration) error {
	hash, err := service.GetBlockHash(height)
	if err != nil {
		return err
	}
	filter, err := service.GetCFilter(*hash, wire.GCSFilterRegular, neutrino.Timeout(timeout))
	if err != nil {
		return fmt.Errorf("filter of block %s: %w", hash, err)
	}
	filterBytes, err := filter.NBytes()
	if err != nil {
		return err
	}
	block, err := service.GetBlock(*hash, neutrino.Timeout(timeout))
	if err != nil {
		return fmt.Errorf("block %s: %w", hash, err)
	}
	fmt.Printf("synced height=%d filter=%x block=%s\n", height, filterBytes, block.Hash())
	return nil
}
