# Configurations of services.bip324-proxy, and what becomes of them.
{ lib }:

{
  # Evaluated as a whole; units and files are looked at.
  good = {
    defaults = { };
    everything = {
      users = [
        "alice"
        "bob"
      ];
      ports = [
        8333
        18444
      ];
      fallback = "v1";
      failClosed = false;
      metrics.enable = true;
      web.enable = true;
      settings = {
        direct = "off";
        direct_ports = [ 8333 ];
        passthrough = false;
        user_agent_suffix = true;
        max_sessions = 64;
        max_direct_per_user = 4;
        max_memory = 100;
        metrics = "127.0.0.1:1325";
        log = "debug";
      };
      sudo.enable = true;
      launcher.enable = true;
    };
    other-group = {
      group = "clients";
      sudo.enable = false;
      metrics = {
        enable = true;
        listen = "unix:/run/bip324-metrics/metrics.sock";
      };
    };
    other-ports = {
      metrics = {
        enable = true;
        listen = "[::1]:9324";
      };
      web = {
        enable = true;
        listen = "127.0.0.2:9325";
      };
    };
    without-launcher.launcher.enable = false;
  };

  # One assertion fails, with these words.
  asserted = {
    root = {
      config.group = "root";
      says = "group is root";
    };
    daemons-group = {
      config.group = "_bip324";
      says = "its own connections would come back to it";
    };
    guards-group = {
      config.group = "_bip324-nft";
      says = "its own connections would come back to it";
    };
    daemon-as-client = {
      config.users = [ "_bip324" ];
      says = "users names _bip324,";
    };
    no-ports = {
      config.ports = [ ];
      says = "ports is empty";
    };
    daemons-port = {
      config.ports = [
        8333
        1324
      ];
      says = "ports names 1324:";
    };
    canary-and-zero = {
      config.ports = [
        324
        0
      ];
      says = "ports names 0, 324:";
    };
    too-many-ports = {
      config.ports = builtins.genList (n: 8000 + n) 65;
      says = "names 65 ports";
    };
    two-fallbacks = {
      config.settings.fallback = "v1";
      says = "settings.fallback differs from services.bip324-proxy.fallback";
    };
    two-groups = {
      config.settings.group = "clients";
      says = "settings.group differs";
    };
    two-ports = {
      config.settings.ports = [ 18333 ];
      says = "settings.ports differs";
    };
    two-exits = {
      config.settings.on_exit = "open";
      says = "settings.on_exit differs from services.bip324-proxy.failClosed";
    };
    listen = {
      config.settings.listen = [ "127.0.0.1:1325" ];
      says = "settings.listen is set";
    };
    control = {
      config.settings.control = "/run/other.sock";
      says = "settings.control is set";
    };
    metrics-told-twice = {
      config.settings.metrics = "127.0.0.1:1325";
      says = "settings.metrics differs from services.bip324-proxy.metrics";
    };
    no-wrappers = {
      config = { };
      nixos.security.enableWrappers = false;
      says = "needs security.enableWrappers";
    };
    daemon-in-clients-group = {
      config = { };
      nixos.users.users._bip324.group = lib.mkForce "bip324";
      says = "must not be bip324, the clients' group";
    };
  };

  # No value of the option's type, or no such option.
  refused = {
    no-such-option.port = 8333;
    port-as-text.ports = [ "8333" ];
    port-too-high.ports = [ 65536 ];
    unknown-fallback.fallback = "v2";
    group-with-space.group = "bit coin";
    group-as-number.group = "995";
    metrics-for-all.metrics.listen = "0.0.0.0:1325";
    page-for-all.web.listen = "[::]:1326";
    metrics-without-port.metrics.listen = "127.0.0.1";
    unknown-log.settings.log = "loud";
    no-sessions.settings.max_sessions = 0;
    little-memory.settings.max_memory = 31;
    nested-settings.settings.log.level = "info";
  };
}
