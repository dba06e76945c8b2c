# A client behind the proxy, a node that speaks v2 and one that does not, in virtual machines.
#
# The client speaks v1 alone, and is not told of anything.
{
  pkgs,
  package,
  module,
  nftables ? false,
}:

let
  node =
    v2transport:
    { pkgs, ... }:
    {
      environment.systemPackages = [
        pkgs.bitcoind
        pkgs.tcpdump
      ];
      networking.firewall.allowedTCPPorts = [ 18444 ];
      systemd.services.bitcoind = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = "${pkgs.bitcoind}/bin/bitcoind -regtest -datadir=/var/lib/bitcoind -dnsseed=0 -v2transport=${v2transport}";
          StateDirectory = "bitcoind";
        };
      };
    };
in
pkgs.testers.runNixOSTest {
  name = "bip324-proxy" + pkgs.lib.optionalString nftables "-nftables";

  nodes = {
    v2node = node "1";
    v1node = node "0";
    client =
      { pkgs, ... }:
      {
        imports = [ module ];
        services.bip324-proxy = {
          enable = true;
          inherit package;
          users = [ "alice" ];
          ports = [
            8333
            18444
          ];
        };
        networking.nftables.enable = nftables;
        users.users.alice.isNormalUser = true;
        users.users.bob.isNormalUser = true;
        environment.systemPackages = [
          pkgs.bitcoind
          pkgs.nftables
        ];
      };
  };

  testScript = ''
    import json

    nodes = [v2node, v1node]


    def as_alice(command):
        return f"su - alice -c '{command}'"


    def light_client(node):
        """A client that speaks v1, knows one peer, and stays."""
        folder = f"/tmp/client-of-{node.name}"
        return (
            f"mkdir -p {folder} && bitcoind -regtest -v2transport=0 -listen=0 -daemonwait"
            f" -datadir={folder} -connect={node.name}:18444"
        )


    def stop_client(node):
        client.succeed(f"bitcoin-cli -regtest -datadir=/tmp/client-of-{node.name} -rpcwait stop")
        client.wait_until_fails("pgrep bitcoind")
        client.succeed(f"rm -r /tmp/client-of-{node.name}")
        node.wait_until_succeeds(
            "bitcoin-cli -regtest -datadir=/var/lib/bitcoind getconnectioncount | grep -x 0"
        )


    def peers(machine, folder="/var/lib/bitcoind"):
        return json.loads(machine.succeed(f"bitcoin-cli -regtest -datadir={folder} getpeerinfo"))


    def await_transport(node, transport):
        """Waits until the node has one peer, with its handshake done, and looks at its transport."""
        node.wait_until_succeeds(
            "bitcoin-cli -regtest -datadir=/var/lib/bitcoind getpeerinfo"
            f" | tr -d ' ,' | grep -x '\"transport_protocol_type\":\"{transport}\"'"
        )
        transports = [peer["transport_protocol_type"] for peer in peers(node)]
        assert transports == [transport], transports


    def has_magic(node):
        """Whether a v1 message of regtest was seen on the wire."""
        status, _ = node.execute("LC_ALL=C grep -qaP '\\xfa\\xbf\\xb5\\xda' /tmp/wire.pcap")
        return status == 0


    def dial(node):
        """Connects as a member of the group; sends nothing."""
        return as_alice(f"sudo -g bip324 timeout 10 bash -c \"exec 3<>/dev/tcp/{node.name}/18444\"")


    start_all()
    for node in nodes:
        node.wait_for_unit("bitcoind.service")
        node.wait_for_open_port(18444)
        node.succeed("systemd-run --unit=capture tcpdump -i eth1 -U -w /tmp/wire.pcap tcp port 18444")
        node.wait_until_succeeds("test -s /tmp/wire.pcap")
    client.wait_for_unit("multi-user.target")

    with subtest("guard, socket and daemon stand, hardened"):
        client.require_unit_state("bip324-guard.service")
        client.require_unit_state("bip324-proxy.socket")
        client.wait_for_unit("bip324-proxy.service")
        for unit in ["bip324-guard", "bip324-proxy"]:
            client.succeed(f"systemd-analyze security --threshold=15 {unit}.service")
        client.succeed("bip324-setup check")

    with subtest("the launcher is for members"):
        mode = client.succeed("stat -c %A:%U:%G /run/wrappers/bin/bip324-run").strip()
        assert mode == "-r-x--s---:root:bip324", mode
        client.succeed(as_alice("bip324-run --check"))
        client.fail("su - bob -c 'bip324-run --check'")
        client.succeed(as_alice("bip324ctl status"))
        client.fail("su - bob -c 'bip324ctl status'")
        client.fail("su - bob -c 'sudo -n -g bip324 true'")

    for start in ["bip324-run sh -c", "sudo -g bip324 sh -c"]:
        with subtest(f"{start}: v2 on the wire"):
            client.succeed(as_alice(f'{start} "{light_client(v2node)}"'))
            await_transport(v2node, "v2")
            session_id = peers(v2node)[0]["session_id"]
            client.succeed(as_alice(f"bip324ctl verify {session_id}"))
            client.succeed(f"bip324ctl verify {session_id}")
            stop_client(v2node)

    with subtest("a node that does not speak v2 hears no v1"):
        client.succeed(as_alice(f'bip324-run sh -c "{light_client(v1node)}"'))
        v1node.wait_until_succeeds("test $(stat -c %s /tmp/wire.pcap) -gt 1000")
        assert not any(peer["version"] for peer in peers(client, "/tmp/client-of-v1node"))
        stop_client(v1node)

    with subtest("the rules survive a flush and restarts"):
        client.succeed("nft flush ruleset")
        client.succeed(as_alice("bip324-run --check"))
        client.succeed("systemctl restart bip324-guard.service bip324-proxy.service")
        client.succeed(as_alice("bip324-run --check"))

    with subtest("stopped, clients are refused"):
        client.succeed("systemctl stop bip324-guard.service")
        client.fail(dial(v2node))
        client.fail(as_alice("bip324-run --check"))
        client.succeed("systemctl start bip324-guard.service")
        client.succeed("systemctl stop bip324-proxy.socket bip324-proxy.service")
        client.fail(dial(v2node))
        client.succeed("systemctl start bip324-proxy.socket bip324-proxy.service")
        client.succeed(as_alice("bip324-run --check"))

    with subtest("no plaintext in all of it"):
        for node in nodes:
            assert not has_magic(node), node.name

    with subtest("without the group there is, and the captures show it"):
        for node in nodes:
            client.succeed(as_alice(f'sh -c "{light_client(node)}"'))
            await_transport(node, "v1")
            stop_client(node)
            assert has_magic(node), node.name
  '';
}
