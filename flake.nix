{
  description = "Gives every Bitcoin program on a Linux host encrypted peer-to-peer connections";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forEachSystem =
        f:
        nixpkgs.lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: f nixpkgs.legacyPackages.${system});
      packageFor = pkgs: pkgs.callPackage ./packaging/nixos/package.nix { };
    in
    {
      packages = forEachSystem (pkgs: rec {
        bip324-proxy = packageFor pkgs;
        default = bip324-proxy;
      });

      overlays.default = final: _: { bip324-proxy = packageFor final; };

      nixosModules = rec {
        bip324-proxy = ./packaging/nixos/module.nix;
        default = bip324-proxy;
      };

      checks = forEachSystem (
        pkgs:
        import ./packaging/nixos/checks.nix {
          inherit pkgs;
          package = packageFor pkgs;
          module = self.nixosModules.default;
        }
      );

      devShells = forEachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ (packageFor pkgs) ];
          packages = [
            pkgs.cargo-deny
            pkgs.clippy
            pkgs.rustfmt
            pkgs.shellcheck
          ];
        };
      });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
