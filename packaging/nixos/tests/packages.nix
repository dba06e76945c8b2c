# Stand-ins for what of nixpkgs' packages the module and ../package.nix name. Nothing is built: all of
# it would lie in the folder `store`.
{ lib, store }:

let
  built =
    name: attrs:
    attrs
    // {
      type = "derivation";
      inherit name;
      outPath = "${store}/${name}";
    };

  value = lib.types.oneOf [
    lib.types.bool
    lib.types.int
    lib.types.str
    (lib.types.listOf (
      lib.types.oneOf [
        lib.types.bool
        lib.types.int
        lib.types.str
      ]
    ))
  ];

  packages = {
    inherit lib;
    stdenv = {
      mkDerivation = attrs: built attrs.pname attrs;
      hostPlatform.emulator = _: "";
      buildPlatform.canExecute = _: true;
    };
    buildPackages = packages;
    rustPlatform.buildRustPackage = built "bip324-proxy";
    testers.runNixOSTest = test: built test.name test;
    mkShell = built "shell";
    runCommand =
      name: _: script:
      built name { inherit script; };
    formats.toml = _: {
      type = lib.types.attrsOf value;
      generate = name: content: built name { inherit content; };
    };
    callPackage =
      file: arguments:
      let
        function = import file;
        wanted = builtins.intersectAttrs (builtins.functionArgs function) packages;
      in
      function (wanted // arguments);
  }
  // builtins.listToAttrs (
    map
      (name: {
        inherit name;
        value = built name { };
      })
      [
        "coreutils"
        "installShellFiles"
        "libmnl"
        "libnftnl"
        "makeBinaryWrapper"
        "nixfmt-tree"
        "pkg-config"
      ]
  );
in
packages
