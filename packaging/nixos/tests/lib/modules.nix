# evalModules: declarations, and what counts of the definitions.
{ lib }:

let
  show = builtins.concatStringsSep ".";
  isOption = value: value._type or null == "option";
  kind = value: if builtins.isAttrs value then value._type or null else null;

  # A file, a function or an attribute set, and what it imports, as { options, config, freeform }.
  load =
    args: module:
    let
      content =
        if builtins.isPath module || builtins.isString module then import module else module;
      called = if builtins.isFunction content then content args else content;
      isPlain = !(called ? options || called ? config || called ? freeformType);
    in
    builtins.concatMap (load args) (called.imports or [ ])
    ++ [
      {
        options = called.options or { };
        config = if isPlain then removeAttrs called [ "imports" ] else called.config or { };
        freeform = called.freeformType or null;
      }
    ];

  # The properties of an attribute set, given to each of its attributes: whether a condition holds
  # need not be known to know the names.
  push =
    value:
    if kind value == "merge" then
      builtins.concatMap push value.contents
    else if kind value == "if" || kind value == "override" then
      map (builtins.mapAttrs (_: content: value // { inherit content; })) (push value.content)
    else
      [ value ];

  # [ { priority, value } ]: without mkMerge and mkIf.
  discharge =
    priority: value:
    if kind value == "merge" then
      builtins.concatMap (discharge priority) value.contents
    else if kind value == "if" then
      if value.condition then discharge priority value.content else [ ]
    else if kind value == "override" then
      discharge value.priority value.content
    else
      [ { inherit priority value; } ];

  # Of all values those of the highest priority, which has the lowest number.
  counting =
    values:
    let
      found = builtins.concatMap (discharge 100) values;
      least = lib.foldr (a: b: if a.priority < b then a.priority else b) 10000 found;
    in
    map (entry: entry.value) (builtins.filter (entry: entry.priority == least) found);

  mergeValues =
    loc: type: values:
    let
      counted = counting values;
      wrong = builtins.filter (value: !type.check value) counted;
    in
    if counted == [ ] then
      throw "The option `${show loc}' was accessed but has no value defined. Try setting the option."
    else if wrong != [ ] then
      throw "A definition for option `${show loc}' is not of type `${type.name}'."
    else
      type.merge loc counted;

  mergeOption =
    loc: option: values:
    let
      defaults = lib.optional (option ? default) (lib.mkOptionDefault option.default);
    in
    mergeValues loc option.type (values ++ defaults);

  # Several declarations of one tree.
  mergeDeclarations =
    prefix: trees:
    builtins.zipAttrsWith (
      name: declared:
      let
        loc = prefix ++ [ name ];
      in
      if !(lib.any isOption declared) then
        mergeDeclarations loc declared
      else if builtins.length declared == 1 then
        builtins.head declared
      else
        throw "The option `${show loc}' is already declared."
    ) trees;

  # Of each name either an option, or a folder of them, or, with a freeform type, anything.
  evaluate =
    prefix: options: freeform: definitions:
    let
      sets = builtins.concatMap push definitions;
      byName = builtins.zipAttrsWith (_: values: values) sets;
      free = removeAttrs byName (builtins.attrNames options);
      unknown = show (prefix ++ [ (builtins.head (builtins.attrNames free)) ]);
      declared = builtins.mapAttrs (
        name: option:
        let
          loc = prefix ++ [ name ];
          values = byName.${name} or [ ];
        in
        if isOption option then mergeOption loc option values else evaluate loc option null values
      ) options;
    in
    if free == { } then
      declared
    else if freeform == null then
      throw "The option `${unknown}' does not exist."
    else
      mergeValues prefix freeform (map (set: removeAttrs set (builtins.attrNames options)) sets)
      // declared;
in
{
  inherit counting mergeValues;

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      args = specialArgs // {
        inherit config lib options;
      };
      loaded = builtins.concatMap (load args) modules;
      options = mergeDeclarations prefix (map (module: module.options) loaded);
      freeforms = builtins.filter (type: type != null) (map (module: module.freeform) loaded);
      freeform = if freeforms == [ ] then null else builtins.head freeforms;
      config = evaluate prefix options freeform (map (module: module.config) loaded);
    in
    {
      inherit config options;
    };
}
