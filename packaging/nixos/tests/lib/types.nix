# Option types: which values they take (`check`), and what several make together (`merge`, of a
# location and the values that count).
{ lib }:

let
  type = name: check: merge: {
    _type = "option-type";
    inherit name check merge;
  };

  show = builtins.concatStringsSep ".";

  # One value, or several that agree.
  one =
    loc: values:
    let
      value = builtins.head values;
    in
    if lib.all (other: other == value) values then
      value
    else
      throw "The option `${show loc}' has conflicting definition values";

  simple = name: check: type name check one;

  integer =
    name: from: to:
    simple name (value: builtins.isInt value && from <= value && value <= to);

  strings = separator: loc: builtins.concatStringsSep separator;
in
rec {
  bool = simple "boolean" builtins.isBool;
  int = simple "signed integer" builtins.isInt;
  str = simple "string" builtins.isString;
  lines = type "strings concatenated with \"\\n\"" builtins.isString (strings "\n");
  port = integer "16 bit unsigned integer" 0 65535;
  ints.between = integer "integer in a range";
  path = simple "absolute path" (
    value: builtins.isPath value || builtins.match "/.*" (toString value) != null
  );
  package = simple "package" (value: builtins.isPath value || value ? outPath);
  enum = values: simple "one of ${builtins.toJSON values}" (value: builtins.elem value values);
  strMatching =
    pattern:
    simple "string matching ${pattern}" (
      value: builtins.isString value && builtins.match pattern value != null
    );

  nullOr =
    inner:
    type "null or ${inner.name}" (value: value == null || inner.check value) (
      loc: values:
      if lib.all (value: value == null) values then null else lib.mergeValues loc inner values
    );

  either =
    first: second:
    type "${first.name} or ${second.name}" (value: first.check value || second.check value) (
      loc: values:
      lib.mergeValues loc (if lib.all first.check values then first else second) values
    );

  oneOf = types: lib.foldr either (lib.last types) types;

  listOf =
    inner:
    type "list of ${inner.name}" builtins.isList (
      loc: lists: map (value: lib.mergeValues loc inner [ value ]) (builtins.concatLists lists)
    );

  nonEmptyListOf =
    inner:
    (listOf inner)
    // {
      name = "non-empty list of ${inner.name}";
      check = value: builtins.isList value && value != [ ];
    };

  attrsOf =
    inner:
    type "attribute set of ${inner.name}" builtins.isAttrs (
      loc: sets:
      let
        byName = builtins.zipAttrsWith (_: values: values) sets;
        defined = lib.filterAttrs (_: values: lib.counting values != [ ]) byName;
      in
      builtins.mapAttrs (name: values: lib.mergeValues (loc ++ [ name ]) inner values) defined
    );

  submodule = module: submoduleOf [ module ];

  submoduleOf =
    modules:
    type "submodule" builtins.isAttrs (
      loc: values:
      (lib.evalModules {
        modules = modules ++ map (config: { inherit config; }) values;
        prefix = loc;
        specialArgs.name = lib.last loc;
      }).config
    )
    // {
      options =
        (lib.evalModules {
          inherit modules;
          prefix = [ ];
          specialArgs.name = "<name>";
        }).options;
    };
}
