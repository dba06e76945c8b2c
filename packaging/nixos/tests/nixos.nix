# The options of NixOS that the module sets or reads, under their names and with their types there.
# Closed on purpose: a name or a type that NixOS would refuse is refused here.
{ lib, ... }:

let
  inherit (lib) mkOption types;

  option = type: default: mkOption { inherit type default; };
  set = options: types.attrsOf (types.submodule { inherit options; });

  strings = option (types.listOf types.str) [ ];
  anything = types.oneOf [
    types.bool
    types.int
    types.str
    types.package
  ];
  section = option (types.attrsOf (types.either anything (types.listOf anything))) { };

  sudoRules = option (types.listOf (
    types.submodule {
      options = {
        users = strings;
        groups = strings;
        host = option types.str "ALL";
        runAs = option types.str "ALL:ALL";
        commands = mkOption {
          type = types.listOf (
            types.submodule {
              options = {
                command = mkOption { type = types.str; };
                options = option (types.listOf (
                  types.enum [
                    "NOPASSWD"
                    "PASSWD"
                    "SETENV"
                    "NOSETENV"
                  ]
                )) [ ];
              };
            }
          );
        };
      };
    }
  )) [ ];

  unit = {
    after = strings;
    before = strings;
    requires = strings;
    wantedBy = strings;
    wants = strings;
    unitConfig = section;
  };
in
{
  options = {
    assertions = option (types.listOf (
      types.submodule {
        options = {
          assertion = mkOption { type = types.bool; };
          message = mkOption { type = types.str; };
        };
      }
    )) [ ];

    environment.systemPackages = option (types.listOf types.package) [ ];
    environment.etc = option (set {
      source = mkOption { type = types.path; };
      mode = option types.str "symlink";
    }) { };

    security.enableWrappers = option types.bool true;
    security.wrappers = option (set {
      source = mkOption { type = types.path; };
      owner = mkOption { type = types.str; };
      group = mkOption { type = types.str; };
      setuid = option types.bool false;
      setgid = option types.bool false;
      capabilities = option types.str "";
      permissions = option (types.strMatching "([ugo]+[-+=][rwx]+)(,[ugo]+[-+=][rwx]+)*") "u+rx,g+x,o+x";
    }) { };
    security.sudo.extraRules = sudoRules;
    security.sudo-rs.extraRules = sudoRules;

    systemd.packages = option (types.listOf types.package) [ ];
    systemd.services = option (set (
      unit
      // {
        reloadTriggers = option (types.listOf anything) [ ];
        restartTriggers = option (types.listOf anything) [ ];
        stopIfChanged = option types.bool true;
        notSocketActivated = option types.bool false;
        serviceConfig = section;
      }
    )) { };
    systemd.sockets = option (set (unit // { socketConfig = section; })) { };

    users.groups = option (set {
      gid = option (types.nullOr types.int) null;
      members = strings;
    }) { };
    users.users = option (set {
      description = option types.str "";
      extraGroups = strings;
      group = option types.str "";
      isNormalUser = option types.bool false;
      isSystemUser = option types.bool false;
    }) { };
  };
}
