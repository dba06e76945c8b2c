{
  lib,
  stdenv,
  buildPackages,
  rustPlatform,
  coreutils,
  installShellFiles,
  libmnl,
  libnftnl,
  pkg-config,
}:

let
  manifest = builtins.fromTOML (builtins.readFile ../../Cargo.toml);
in
rustPlatform.buildRustPackage {
  pname = "bip324-proxy";
  inherit (manifest.workspace.package) version;

  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../.clippy.toml
      ../../.rustfmt.toml
      ../../Cargo.lock
      ../../Cargo.toml
      ../../crates
      ../../nft
      (lib.fileset.difference ../../packaging ./.)
    ];
  };

  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    pkg-config
  ];
  buildInputs = [
    libmnl
    libnftnl
  ];

  cargoBuildFlags = [
    "--package=bip324-ctl"
    "--package=bip324-manual"
    "--package=bip324-proxy"
    "--package=bip324-setup"
  ];
  # The others' tests need root, network namespaces and real nodes: scripts/test runs them.
  cargoTestFlags = [
    "--package=bip324-config"
    "--package=bip324-transport"
  ];

  # scripts/check-nix runs this, with the functions of stdenv that it calls.
  postInstall = ''
    ${stdenv.hostPlatform.emulator buildPackages} $out/bin/bip324-manual manual
    rm $out/bin/bip324-manual
    installManPage manual/man/*
    installShellCompletion \
      --bash manual/completions/bash/* \
      --fish manual/completions/fish/* \
      --zsh manual/completions/zsh/*

    install -D -m 644 -t $out/share/bip324-proxy/grafana packaging/grafana/*
    install -D -m 644 -t $out/lib/systemd/system packaging/systemd/*
    substituteInPlace $out/lib/systemd/system/bip324-{guard,proxy}.service \
      --replace-fail /usr/sbin/ $out/bin/ \
      --replace-fail /bin/kill ${coreutils}/bin/kill
    substituteInPlace $out/lib/systemd/system/bip324-web.service \
      --replace-fail "/usr/lib /usr/lib64" ${builtins.storeDir} \
      --replace-fail /usr/bin/ $out/bin/
    # NixOS starts its nftables after sysinit.target, and the guard is before that: no cycle.
    substituteInPlace $out/lib/systemd/system/bip324-guard.service \
      --replace-fail After=nftables.service ""
  '';

  meta = {
    description = "Gives Bitcoin clients of a group encrypted BIP324 connections, without touching them";
    license = lib.licenses.mit;
    mainProgram = "bip324-proxy";
    platforms = lib.platforms.linux;
  };
}
