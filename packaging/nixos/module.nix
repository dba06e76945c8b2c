# services.bip324-proxy: see docs/NIXOS.md.
#
# The units are those of packaging/systemd, which the package brings with its own paths in them: what
# stands here is only what NixOS takes from nowhere else, such as who wants them.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkIf mkOption types;

  cfg = config.services.bip324-proxy;
  format = pkgs.formats.toml { };

  # In a folder of its own, for the daemon's sandbox leaves it the one that the file is in. What the
  # programs would refuse is no new generation.
  toml = format.generate "bip324-proxy.toml" (lib.filterAttrs (_: v: v != null) cfg.settings);
  canCheck = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  configuration = pkgs.runCommand "bip324-proxy-config" { } ''
    ${lib.optionalString canCheck "${cfg.package}/bin/bip324-proxy --check-config --config ${toml}"}
    install -D -m 444 ${toml} $out/config.toml
  '';

  # Their primary groups must not be the clients': what they send would come back to the daemon.
  daemon = "_bip324";
  guard = "_bip324-nft";
  systemUser = name: description: {
    isSystemUser = true;
    group = name;
    inherit description;
  };

  # bip324-run asks no file for the group, and so has to be told of another one. By a binary: a shell
  # would give up the group that it gets from security.wrappers.
  launcher =
    if cfg.group == "bip324" then
      "${cfg.package}/bin/bip324-run"
    else
      pkgs.runCommand "bip324-run" { nativeBuildInputs = [ pkgs.makeBinaryWrapper ]; } ''
        makeWrapper ${cfg.package}/bin/bip324-run $out --add-flags '--group ${cfg.group}'
      '';

  # The port, where it is one: the units let their programs have no other.
  portOf = listen: builtins.match ".*:([0-9]+)" listen;

  # As themselves, as the empty user says: no power beyond what newgrp(1) and sg(1) give members.
  sudoRules = mkIf cfg.sudo.enable [
    {
      groups = [ cfg.group ];
      runAs = ":${cfg.group}";
      commands = [
        {
          command = "ALL";
          options = [ "NOPASSWD" ];
        }
      ];
    }
  ];

  enabledByDefault =
    description:
    mkOption {
      type = types.bool;
      default = true;
      inherit description;
    };
in
{
  options.services.bip324-proxy = {
    enable = lib.mkEnableOption "BIP324 (v2 transport) for the Bitcoin clients of a group";

    package = mkOption {
      type = types.package;
      default = pkgs.bip324-proxy or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "pkgs.bip324-proxy, or else built from this source";
      description = "Package of the programs and their units.";
    };

    group = mkOption {
      type = types.strMatching "[A-Za-z_][A-Za-z0-9_.-]{0,30}";
      default = "bip324";
      description = ''
        Group whose connections are redirected. A client has to run with it as its primary group:
        with {command}`bip324-run`, {command}`sudo -g`, {command}`sg`, or `Group=` in a unit.
      '';
    };

    users = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = ''
        Users who join the group, and so may start clients in it. That alone redirects nothing.
      '';
    };

    ports = mkOption {
      type = types.listOf types.port;
      default = [ 8333 ];
      example = [
        8333
        18333
      ];
      description = ''
        Ports of peers to which the group's connections are redirected. Connections to other ports
        leave as the client makes them.
      '';
    };

    fallback = mkOption {
      type = types.enum [
        "reject"
        "v1"
      ];
      default = "reject";
      description = ''
        What happens when a peer does not speak v2: `reject` refuses the client; `v1` speaks v1, in
        plaintext, where the peer gave no answer at all. Anybody on the path can provoke that.
      '';
    };

    failClosed = enabledByDefault ''
      Whether the group's connections are refused while the guard of the rules is stopped. Otherwise
      they then leave in plaintext.
    '';

    settings = mkOption {
      type = types.submodule {
        freeformType = format.type;
        options = import ./settings.nix { inherit lib cfg; };
      };
      default = { };
      example = {
        max_sessions = 64;
        log = "debug";
      };
      description = ''
        Contents of {file}`/etc/bip324-proxy/config.toml`, which daemon and guard share. See
        {manpage}`bip324-proxy.toml(5)`.
      '';
    };

    metrics = {
      enable = lib.mkEnableOption "metrics of the daemon in OpenMetrics, at `/metrics`, for this host";

      listen = mkOption {
        type = types.strMatching "(127[.][0-9.]+|\\[::1]):[0-9]+|unix:/.+";
        default = "127.0.0.1:1325";
        example = "unix:/run/bip324-metrics/metrics.sock";
        description = ''
          Where metrics are served: a port of a loopback address, to every user of this host, or a Unix
          socket in {file}`/run/bip324-metrics`, to the group `_bip324`.
        '';
      };
    };

    web = {
      enable = lib.mkEnableOption ''
        the page of {command}`bip324ctl web` as a service. Its address is in {file}`/run/bip324-web/url`,
        for members of the group'';

      listen = mkOption {
        type = types.strMatching "(127[.][0-9.]+|\\[::1]):[0-9]+";
        default = "127.0.0.1:1326";
        description = "Address and port of this host at which the page is served.";
      };
    };

    launcher.enable = enabledByDefault ''
      Whether {command}`bip324-run` is installed set-group-ID for the group's members. It proves rules
      and daemon before it starts a client.
    '';

    sudo.enable = enabledByDefault ''
      Whether members may {command}`sudo -g` the group without a password.
    '';
  };

  config = mkIf cfg.enable {
    assertions = import ./assertions.nix { inherit config lib; };

    users.groups = {
      ${cfg.group}.members = cfg.users;
      ${daemon} = { };
      ${guard} = { };
    };
    users.users = {
      ${daemon} = systemUser daemon "bip324-proxy daemon";
      ${guard} = systemUser guard "bip324-proxy rules";
    };

    environment.systemPackages = [ cfg.package ];
    environment.etc."bip324-proxy/config.toml".source = "${configuration}/config.toml";

    systemd.packages = [ cfg.package ];
    systemd.sockets.bip324-proxy.wantedBy = [ "sockets.target" ];
    systemd.sockets.bip324-proxy-control = {
      wantedBy = [ "sockets.target" ];
      socketConfig.SocketGroup = cfg.group;
    };
    systemd.services.bip324-proxy = {
      wantedBy = [ "multi-user.target" ];
      # Not reloaded: its sandbox does not let it read what is new in the store.
      restartTriggers = [ configuration ];
      # In one step, with the socket open: clients wait instead of being refused.
      stopIfChanged = false;
      notSocketActivated = true;
      serviceConfig = mkIf (cfg.metrics.enable && portOf cfg.metrics.listen != null) {
        SocketBindAllow = "tcp:${lib.head (portOf cfg.metrics.listen)}";
      };
    };
    systemd.services.bip324-web = mkIf cfg.web.enable {
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        ExecStart = [
          ""
          "${cfg.package}/bin/bip324ctl web --listen ${cfg.web.listen} --url-file /run/bip324-web/url"
        ];
        Group = cfg.group;
        SocketBindAllow = "tcp:${lib.head (portOf cfg.web.listen)}";
      };
    };
    systemd.services.bip324-guard = {
      wantedBy = [ "sysinit.target" ];
      reloadTriggers = [ configuration ];
      # In one step: systemd keeps the rules' socket meanwhile, and with it the rules.
      stopIfChanged = false;
    };

    security.wrappers = mkIf cfg.launcher.enable {
      bip324-run = {
        source = launcher;
        owner = "root";
        inherit (cfg) group;
        setgid = true;
        permissions = "u+rx,g+x,o-rwx";
      };
    };
    security.sudo.extraRules = sudoRules;
    security.sudo-rs.extraRules = sudoRules;
  };
}
