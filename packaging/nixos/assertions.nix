# What the options' types cannot tell, each with what to do about it.
{ config, lib }:

let
  cfg = config.services.bip324-proxy;
  option = "services.bip324-proxy";
  own = [
    "_bip324"
    "_bip324-nft"
  ];
  # 324 is the canary's; systemd listens on 1324 for the daemon.
  reserved = lib.filter (port: builtins.elem port cfg.ports) [
    0
    324
    1324
  ];
  list = lib.concatMapStringsSep ", " toString;

  toldOnce =
    { name, key, value }:
    {
      assertion = cfg.settings.${key} == value;
      message = "${option}.settings.${key} differs from ${option}.${name}: set ${option}.${name} alone.";
    };
in
map toldOnce [
  {
    name = "group";
    key = "group";
    value = cfg.group;
  }
  {
    name = "ports";
    key = "ports";
    value = cfg.ports;
  }
  {
    name = "fallback";
    key = "fallback";
    value = cfg.fallback;
  }
  {
    name = "failClosed";
    key = "on_exit";
    value = if cfg.failClosed then "block" else "open";
  }
  {
    name = "metrics";
    key = "metrics";
    value = if cfg.metrics.enable then cfg.metrics.listen else "off";
  }
]
++ [
  {
    assertion = cfg.group != "root";
    message = "${option}.group is root: everything that root starts would be redirected. Leave the default, bip324, or name a group that only clients run in.";
  }
  {
    assertion = !builtins.elem cfg.group own;
    message = "${option}.group is ${cfg.group}, which a service of bip324-proxy runs as: its own connections would come back to it. Leave the default, bip324, or name another group.";
  }
  {
    assertion =
      builtins.elem cfg.group own || lib.all (name: config.users.users.${name}.group != cfg.group) own;
    message = "users.users.${lib.head own}.group and users.users.${lib.last own}.group must not be ${cfg.group}, the clients' group: their connections would come back to the daemon.";
  }
  {
    assertion = lib.all (name: !builtins.elem name cfg.users) own;
    message = "${option}.users names ${list (lib.filter (name: builtins.elem name cfg.users) own)}, which bip324-proxy itself runs as: only users who start clients belong there.";
  }
  {
    assertion = cfg.ports != [ ];
    message = "${option}.ports is empty: nothing would be redirected. Name at least one port, such as 8333, or set ${option}.enable = false.";
  }
  {
    assertion = lib.length cfg.ports <= 64;
    message = "${option}.ports names ${toString (lib.length cfg.ports)} ports: 64 are the most that one set of rules holds.";
  }
  {
    assertion = reserved == [ ];
    message = "${option}.ports names ${list reserved}: 1324 is the daemon's own port, 324 the one by which the redirect is proved, and 0 none. Name ports of Bitcoin peers.";
  }
  {
    assertion = cfg.settings.listen == null;
    message = "${option}.settings.listen is set: the socket unit has the addresses, and the daemon refuses both. Leave it out.";
  }
  {
    assertion = cfg.settings.control == null;
    message = "${option}.settings.control is set: the socket unit has the path, and the daemon refuses both. Leave it out.";
  }
  {
    # Not an option of every NixOS.
    assertion = cfg.launcher.enable -> config.security.enableWrappers or true;
    message = "${option}.launcher.enable needs security.enableWrappers, which gives bip324-run the group. Enable it, or set ${option}.launcher.enable = false and start clients with `sudo -g ${cfg.group}`.";
  }
]
