# Enough of nixpkgs' lib to evaluate the module where nixpkgs is not at hand: the same names with the
# same meaning, of what ../../*.nix use, and nothing else.
let
  lib = {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      head
      isAttrs
      isList
      length
      mapAttrs
      ;

    last = list: builtins.elemAt list (builtins.length list - 1);
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    optionalAttrs = condition: attrs: if condition then attrs else { };
    optionalString = condition: text: if condition then text else "";
    concatMapStringsSep =
      separator: f: list:
      builtins.concatStringsSep separator (map f list);
    foldr =
      f: start: list:
      if list == [ ] then
        start
      else
        f (builtins.head list) (lib.foldr f start (builtins.tail list));
    filterAttrs =
      keep: attrs:
      removeAttrs attrs (builtins.filter (name: !keep name attrs.${name}) (builtins.attrNames attrs));
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (builtins.attrNames attrs);

    mkOption = attrs: attrs // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };

    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkForce = lib.mkOverride 50;
    mkDefault = lib.mkOverride 1000;
    mkOptionDefault = lib.mkOverride 1500;

    types = import ./types.nix { inherit lib; };
    inherit (import ./modules.nix { inherit lib; }) counting evalModules mergeValues;
  };
in
lib
