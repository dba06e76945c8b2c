# Evaluates the module in every case of ./cases.nix: what went wrong, and of the good ones all that
# NixOS would make of them. `lib` is nixpkgs' or ./lib; in the folder `store` the package would lie; the
# file `keys` is what scripts/check-nix.d/keys prints: all that can be configured.
{
  lib ? import ./lib,
  store,
  keys,
}:

let
  cases = import ./cases.nix { inherit lib; };
  pkgs = import ./packages.nix { inherit lib store; };

  evaluate =
    modules:
    lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        ./nixos.nix
        ../module.nix
      ]
      ++ modules;
    };
  systemOf =
    services: nixos:
    (evaluate [
      { services.bip324-proxy = services // { enable = true; }; }
      nixos
    ]).config;

  # As NixOS writes a unit.
  text = value: if builtins.isBool value then (if value then "true" else "false") else toString value;
  section =
    name: attrs:
    let
      values = key: if builtins.isList attrs.${key} then attrs.${key} else [ attrs.${key} ];
      lines = lib.concatMap (key: map (value: "${key}=${text value}\n") (values key));
    in
    "[${name}]\n" + lib.concatStringsSep "" (lines (lib.attrNames attrs));
  ordering =
    unit:
    lib.filterAttrs (_: value: value != "") {
      After = toString unit.after;
      Before = toString unit.before;
      Requires = toString unit.requires;
      Wants = toString unit.wants;
    };
  service =
    unit:
    section "Unit" (
      unit.unitConfig
      // ordering unit
      // {
        X-Reload-Triggers = toString unit.reloadTriggers;
        X-Restart-Triggers = toString unit.restartTriggers;
      }
    )
    + section "Service" (
      unit.serviceConfig
      // {
        X-NotSocketActivated = unit.notSocketActivated;
        X-StopIfChanged = unit.stopIfChanged;
      }
    )
    + section "Install" { WantedBy = toString unit.wantedBy; };
  socket =
    unit:
    section "Unit" (unit.unitConfig // ordering unit)
    + section "Socket" unit.socketConfig
    + section "Install" { WantedBy = toString unit.wantedBy; };
  renamed =
    suffix: attrs: lib.mapAttrsToList (name: value: { name = "${name}.${suffix}"; inherit value; }) attrs;
  rendered =
    systemd:
    builtins.listToAttrs (
      renamed "service" (lib.mapAttrs (_: service) systemd.services)
      ++ renamed "socket" (lib.mapAttrs (_: socket) systemd.sockets)
    );

  report =
    services:
    let
      system = systemOf services { };
      proxy = system.services.bip324-proxy;
    in
    {
      failed = failures system;
      options = removeAttrs proxy [
        "package"
        "settings"
      ];
      settings = lib.filterAttrs (_: value: value != null) proxy.settings;
      configScript = (lib.head system.systemd.services.bip324-proxy.restartTriggers).script;
      launcherScript = system.security.wrappers.bip324-run.source.script or "";
      inherit (system.environment) etc;
      systemPackages = map toString system.environment.systemPackages;
      unitPackages = map toString system.systemd.packages;
      units = rendered system.systemd;
      inherit (system.security) wrappers;
      sudo = system.security.sudo.extraRules;
      sudo-rs = system.security.sudo-rs.extraRules;
      inherit (system) users;
    };

  failures = system: map (a: a.message) (lib.filter (a: !a.assertion) system.assertions);
  contains = words: message: builtins.length (builtins.split (literally words) message) > 1;
  literally = builtins.replaceStrings [ "." "_" ] [ "[.]" "[_]" ];

  wrong =
    name: case:
    let
      failed = failures (systemOf case.config (case.nixos or { }));
    in
    lib.optional (!(builtins.length failed == 1 && contains case.says (lib.head failed)))
      "${name}: expected one failed assertion with `${case.says}', not ${builtins.toJSON failed}";

  taken =
    name: services:
    let
      proxy = removeAttrs (systemOf services { }).services.bip324-proxy [ "package" ];
      forced = builtins.tryEval (builtins.deepSeq proxy true);
    in
    lib.optional forced.success "${name}: should not evaluate";

  disabled = (evaluate [ ]).config;
  inherit (disabled.services.bip324-proxy) package;

  # What can be configured, the programs' defaults, and values to be taken or refused.
  told = builtins.fromJSON (builtins.readFile keys);
  shipped = builtins.mapAttrs (_: key: key.default) told;
  settings = lib.attrNames (
    import ../settings.nix {
      inherit lib;
      cfg = disabled.services.bip324-proxy;
    }
  );
  defaults = (report { }).settings;

  # A key as the module has it: an option of its own, or one of `settings`.
  said = {
    group = value: { group = value; };
    ports = value: { ports = value; };
    fallback = value: { fallback = value; };
    on_exit = value: {
      failClosed = if value == "block" || value == "open" then value == "block" else value;
    };
    metrics =
      value:
      lib.optionalAttrs (value != "off") {
        metrics = {
          enable = true;
          listen = value;
        };
      };
  };
  say = name: value: (said.${name} or (value: { settings.${name} = value; })) value;
  takes =
    name: value:
    let
      system = systemOf (say name value) { };
      proxy = removeAttrs system.services.bip324-proxy [ "package" ];
      other = lib.filter (message: !contains "settings.${name} is set" message) (failures system);
    in
    (builtins.tryEval (builtins.deepSeq proxy (other == [ ]))).value;
  misjudged =
    name:
    map (value: "${name}: does not take ${builtins.toJSON value}") (
      lib.filter (value: !takes name value) told.${name}.good
    )
    ++ map (value: "${name}: takes ${builtins.toJSON value}") (lib.filter (takes name) told.${name}.bad);
in
{
  good = lib.mapAttrs (_: report) cases.good;

  faults =
    lib.concatMap (name: wrong name cases.asserted.${name}) (lib.attrNames cases.asserted)
    ++ lib.concatMap (name: taken name cases.refused.${name}) (lib.attrNames cases.refused)
    ++ lib.concatMap (
      name: map (message: "${name}: ${message}") (report cases.good.${name}).failed
    ) (lib.attrNames cases.good)
    ++ lib.optional (
      disabled.systemd.services != { } || disabled.users.users != { } || disabled.security.wrappers != { }
    ) "not enabled, it changes the system"
    ++ lib.optional (
      settings != lib.attrNames told
    ) "settings has the keys ${toString settings}, and config.toml ${toString (lib.attrNames told)}"
    ++ lib.concatMap misjudged (lib.attrNames told)
    ++ lib.optional (
      defaults != builtins.intersectAttrs defaults shipped
    ) "the defaults ${builtins.toJSON defaults} are not those of config.toml"
    # As `wrong` says: of all the defaults, spelled out, only the addresses and the path of the control
    # socket may not be.
    ++ wrong "all-defaults" {
      config.settings = removeAttrs shipped [ "control" ];
      says = "settings.listen is set";
    };

  bad = builtins.length (lib.attrNames cases.asserted ++ lib.attrNames cases.refused);

  inherit (package) postInstall;

  # Python, of the test that starts virtual machines.
  inherit
    (import ./vm.nix {
      inherit pkgs package;
      module = ../module.nix;
    })
    testScript
    ;
}
