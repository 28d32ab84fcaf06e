# As much of the module system of NixOS as the modules of this project use: options with types and defaults, mkIf,
# mkDefault, and the parts of lib and pkgs that they mention. Prints what the modules define as JSON.
#   nix-instantiate --eval --strict --json stub.nix --argstr settings '{ services… = …; }' (JSON)
{ settings ? "{}" }:

let
  inherit (builtins) all any attrNames concatLists concatMap concatStringsSep elem elemAt filter foldl' fromJSON head
    isAttrs isBool isInt isList isString length listToAttrs map mapAttrs split tail toString;

  update = old: new:
    if isAttrs old && isAttrs new then old // mapAttrs (name: value: if old ? ${name} then update old.${name} value else value) new
    else new;
  merge = foldl' update { };

  # Takes off mkIf and mkDefault.
  plain = value:
    if !isAttrs value then (if isList value then map plain value else value)
    else if value._type or "" == "if" then (if value.condition then plain value.content else null)
    else if value._type or "" == "default" then plain value.content
    else if value._type or "" == "option" then value
    else mapAttrs (_: plain) value;

  # What `fill` adds to a value are defaults, and `within` has the options inside of it.
  type = name: check: { inherit name check; fill = value: value; within = { }; };
  types = {
    bool = type "bool" isBool;
    str = type "str" isString;
    package = type "package" isString;
    attrs = type "attrs" isAttrs;
    nullOr = of: type "nullOr ${of.name}" (value: value == null || of.check value);
    enum = values: type "enum" (value: elem value values);
    listOf = of: type "listOf ${of.name}" (value: isList value && all of.check value);
    attrsOf = of: type "attrsOf ${of.name}" (value: isAttrs value && all (name: of.check value.${name}) (attrNames value))
      // { fill = mapAttrs (_: of.fill); within = if of.within == { } then { } else { "<name>" = of.within; }; };
    submodule = { options }: type "submodule" (value: isAttrs value && unknown [ ] options value == [ ]) // {
      fill = value: mapAttrs
        (name: option:
          let result = value.${name} or option.default or (throw "${name} is used but not defined"); in
          if option.type.check result then result else throw "${name} is not a ${option.type.name}")
        options;
      within = options;
    };
  };

  lib = {
    inherit types concatMap;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption = text: lib.mkOption { type = types.bool; default = false; description = "Whether to enable ${text}."; };
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkDefault = content: { _type = "default"; inherit content; };
    literalExpression = text: text;
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: value: if condition then value else { };
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    inherit (builtins) head;
    last = list: elemAt list (length list - 1);
    splitString = at: text: filter isString (split at text);
    toInt = fromJSON;
  };

  pkgs = {
    build-swarm = "/package";
    callPackage = _: _: throw "the overlay's package is used";
    coreutils = "/coreutils";
    util-linux = "/util-linux";
    git = "/git";
    openssh = "/openssh";
    gnutar = "/gnutar";
    xz = "/xz";
    gzip = "/gzip";
    formats.toml = { }: { type = types.attrs; generate = name: value: { inherit name value; }; };
  };
  utils.escapeSystemdExecArgs = args: concatStringsSep " " (map (text: "\"${toString text}\"") args);

  own = map (file: import file { inherit config lib pkgs utils; }) [
    ../../../../nix/modules/orchestrator.nix
    ../../../../nix/modules/drone.nix
    ../../../../nix/modules/switch.nix
    ../../../../nix/modules/update.nix
  ];
  user = { config = fromJSON settings; };
  modules = own ++ [ user ];

  # Definitions of an option. Conditions are not looked at before its name is found, because they depend on options.
  definitions = path: conditions: value:
    if isAttrs value && value._type or "" == "if" then
      definitions path (conditions ++ [ value.condition ]) value.content
    else if path == [ ] then [ { inherit conditions value; } ]
    else if value ? ${head path} then definitions (tail path) conditions value.${head path}
    else [ ];
  value = path: option:
    let
      found = concatMap (module: definitions path [ ] (module.config or { })) modules;
      holding = map (one: plain one.value) (filter (one: all (condition: condition) one.conditions) found);
      name = concatStringsSep "." path;
      result =
        if holding == [ ] then option.default or (throw "${name} is used but not defined")
        else if all isAttrs holding then merge holding
        else lib.last holding;
    in
    if option.type.check result then option.type.fill result else throw "${name} is not a ${option.type.name}";
  resolve = path: options: mapAttrs
    (name: option:
      if option._type or "" == "option" then value (path ++ [ name ]) option else resolve (path ++ [ name ]) option)
    options;

  options = merge (map (module: module.options) own);
  defined = merge (map (module: let found = plain module.config; in if found == null then { } else found) own);
  unknown = path: options: value: concatLists (map
    (name:
      if !(options ? ${name}) then [ (concatStringsSep "." (path ++ [ name ])) ]
      else if options.${name}._type or "" == "option" then [ ]
      else unknown (path ++ [ name ]) options.${name} value.${name})
    (attrNames value));

  config = {
    inherit (resolve [ ] options) services;
    environment = defined.environment or { };
    networking = { hostName = "desk"; } // defined.networking or { };
    nix.package = "/nix-package";
  };
  documented = path: options: concatLists (map
    (name:
      let option = options.${name}; here = path ++ [ name ]; in
      if option._type or "" == "option" then
        [ { name = concatStringsSep "." here; type = option.type.name; text = option.description or ""; } ]
        ++ documented here option.type.within
      else documented here option)
    (attrNames options));
in
if unknown [ ] options user.config != [ ] then throw "no such option: ${concatStringsSep " " (unknown [ ] options user.config)}"
else {
  systemd = defined.systemd or { };
  environment = defined.environment or { };
  networking = defined.networking or { };
  users = defined.users or { };
  options = documented [ ] options;
}
