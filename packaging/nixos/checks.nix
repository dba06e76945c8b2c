# What `nix flake check` builds.
{
  pkgs,
  package,
  module,
}:

let
  inherit (pkgs) lib;

  # A command of cargo's on all of the source, without network.
  cargo =
    name: command:
    pkgs.stdenv.mkDerivation {
      pname = "bip324-proxy-${name}";
      inherit (package) version src buildInputs;
      cargoDeps = pkgs.rustPlatform.importCargoLock { lockFile = ../../Cargo.lock; };
      nativeBuildInputs = [
        pkgs.cargo
        pkgs.clippy
        pkgs.pkg-config
        pkgs.rustPlatform.cargoSetupHook
        pkgs.rustc
        pkgs.rustfmt
      ];
      buildPhase = "cargo ${command}";
      installPhase = "touch $out";
    };

  # The module in a whole NixOS: its units as NixOS puts them together, and its configuration.
  nixos = pkgs.nixos {
    imports = [ module ];
    services.bip324-proxy = {
      enable = true;
      inherit package;
      users = [ "alice" ];
      group = "clients";
      metrics.enable = true;
      web.enable = true;
    };
    users.users.alice.isNormalUser = true;
    boot.loader.grub.enable = false;
    fileSystems."/".device = "/dev/disk/by-label/root";
    system.stateVersion = lib.trivial.release;
  };
  etc = file: nixos.config.environment.etc.${file}.source;
in
{
  inherit package;

  clippy = cargo "clippy" "clippy --offline --locked --workspace --all-targets -- -D warnings";
  fmt = cargo "fmt" "fmt --all --check";

  module = pkgs.runCommand "bip324-proxy-module" { } ''
    cd ${etc "systemd/system"}
    for unit in bip324-{guard,proxy,web}.service bip324-proxy{,-control}.socket; do
      test -e $unit
      test -e $unit.d/overrides.conf
    done
    test -e sysinit.target.wants/bip324-guard.service
    test -e sockets.target.wants/bip324-proxy.socket
    test -e sockets.target.wants/bip324-proxy-control.socket
    test -e multi-user.target.wants/bip324-web.service
    grep -x 'group = "clients"' ${etc "bip324-proxy/config.toml"}
    test -x ${nixos.config.security.wrappers.bip324-run.source}
    touch $out
  '';

  vm = import ./tests/vm.nix { inherit pkgs package module; };
  vm-nftables = import ./tests/vm.nix {
    inherit pkgs package module;
    nftables = true;
  };
}
