# The keys of the configuration file (man bip324-proxy.toml), as options. `null` leaves a key out.
# scripts/check-nix compares names and defaults with those of the programs.
{ lib, cfg }:

let
  inherit (lib) mkOption types;

  positive = types.ints.between 1;

  key =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };

  # Told by an option of the module; an assertion refuses two different answers.
  told =
    name: type: default:
    mkOption {
      inherit type default;
      defaultText = lib.literalExpression "from services.bip324-proxy.${name}";
      description = "Set by {option}`services.bip324-proxy.${name}`.";
    };
in
{
  group = told "group" types.str cfg.group;
  ports = told "ports" (types.listOf types.port) cfg.ports;
  fallback = told "fallback" types.str cfg.fallback;
  on_exit = told "failClosed" types.str (if cfg.failClosed then "block" else "open");
  metrics = told "metrics" types.str (if cfg.metrics.enable then cfg.metrics.listen else "off");

  listen = key (types.listOf types.str) ''
    Must stay unset: the socket unit has the addresses, port 1324 of 127.0.0.1 and ::1.
  '';
  direct =
    key
      (types.enum [
        "off"
        "public"
        "any"
      ])
      ''
        Destinations of connections that were made to the daemon itself and not redirected: none,
        globally routable addresses on the ports of `direct_ports`, or any.
      '';
  direct_ports = key (types.nonEmptyListOf (positive 65535)) ''
    Ports that `direct = "public"` may dial.
  '';
  passthrough = key types.bool ''
    Whether redirected clients that speak v2 themselves are passed through untouched.
  '';
  user_agent_suffix = key types.bool ''
    Whether the name of this program is appended to the user agent that peers see.
  '';
  max_sessions = key (positive 250000) ''
    Sessions at a time; connections beyond them are reset.
  '';
  max_direct_per_user = key (positive 250000) ''
    Sessions that one user may have by connections that were not redirected.
  '';
  max_memory = key (types.ints.between 32 1048576) ''
    Memory of all sessions together, in MiB.
  '';
  control = key types.str ''
    Must stay unset: the socket unit has the path, {file}`/run/bip324-proxy/control.sock`.
  '';
  log =
    key
      (types.enum [
        "off"
        "error"
        "warn"
        "info"
        "debug"
        "trace"
      ])
      ''
        Log level. Addresses and session ids appear from `debug` on.
      '';
}
