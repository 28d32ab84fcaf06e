# Builds everything here with the shell and the tools of one static busybox, in Nix's sandbox.
{ system }:
let
  # The only input from outside. Its store path must not depend on the location of this directory.
  seed =
    if builtins.pathExists ./seed/bin/busybox then
      builtins.path { path = ./seed; name = "seed"; }
    else
      throw "seed/bin/busybox is missing: copy a static busybox there first (see README.md)";

  # busybox acts as the tool by whose name it is called.
  tools = derivation {
    name = "tools";
    inherit system;
    builder = "${seed}/bin/busybox";
    args = [ "sh" "-e" "-c" ''
      busybox=${seed}/bin/busybox
      $busybox mkdir -p $out/bin
      $busybox cp $busybox $out/bin/busybox
      for tool in $($busybox --list); do
        [ -e $out/bin/$tool ] || $busybox ln -s busybox $out/bin/$tool
      done
    '' ];
  };

  # A derivation whose builder is a shell script.
  build =
    { name, version, script, ... }@attributes:
    derivation (removeAttrs attributes [ "script" ] // {
      name = "${name}-${version}";
      inherit system;
      builder = "${tools}/bin/sh";
      args = [ "-euo" "pipefail" "-c" script ];
      PATH = "${tools}/bin";
    });

  # `uses` are packages by name. In a script, @NAME@ stands for the path of a package, @tools@ for the directory of the
  # tools, @out@ for the script's own path and @version@ for its own version. As a compiler would, the build rejects a
  # script that calls functions of libraries that are not in `uses`.
  scripts =
    { name, version, uses, file, install, outputs ? [ "out" ] }:
    let
      own = { inherit version; out = placeholder "out"; tools = "${tools}/bin"; };
      edit = word: text: "s|@${word}@|${text}|g";
    in
    build {
      inherit name version file outputs;
      apis = map (package: package.dev) (builtins.filter (package: package ? dev) (builtins.attrValues uses));
      edits = builtins.concatStringsSep ";" (builtins.attrValues (builtins.mapAttrs edit (uses // own)));
      script = ''
        known=$(for api in $apis; do cat $api/share/api/*; done)
        for function in $(grep -v '^ *#' $file | grep -oE '(expr|number|tally|text)_[a-z]+' | sort -u); do
          echo "$known" | grep -qx "$function" || grep -q "^$function() " $file || {
            echo "$file: error: no library has a function '$function'" >&2
            exit 1
          }
        done
        ${install}
      '';
    };
in
{
  inherit tools build;

  # A library: functions to be read with `.`, and, for builds that use it, a list of their names.
  library = name: version: uses: scripts {
    inherit version uses;
    name = "lib${name}";
    file = ./libraries + "/${name}.sh";
    outputs = [ "out" "dev" ];
    install = ''
      mkdir -p $out/lib $dev/share/api
      sed "$edits" $file > $out/lib/${name}.sh
      sed -n 's/^\([a-z_]*\)() .*/\1/p' $file > $dev/share/api/${name}
    '';
  };

  # A program that is needed only for building.
  tool = name: version: uses: scripts {
    inherit name version uses;
    file = ./tools + "/${name}.sh";
    install = ''
      mkdir -p $out/bin
      sed "$edits" $file > $out/bin/${name}
      chmod +x $out/bin/${name}
    '';
  };

  # A program. The build starts it once.
  program = name: version: uses: scripts {
    inherit name version uses;
    file = ./programs + "/${name}.sh";
    install = ''
      mkdir -p $out/bin
      sed "$edits" $file > $out/bin/${name}
      chmod +x $out/bin/${name}
      $out/bin/${name} --version
    '';
  };

  # A file with a known hash. Only such a derivation can use the network, and it must return exactly this file.
  fetch = { name, file, sha256, mirror ? "" }: derivation {
    inherit name system mirror;
    builder = "${tools}/bin/sh";
    PATH = "${tools}/bin";
    args = [ "-euc" ''
      if [ -n "$mirror" ]; then
        wget -O $out "$mirror/${baseNameOf file}"
      else
        cp ${file} $out
      fi
    '' ];
    outputHashMode = "flat";
    outputHashAlgo = "sha256";
    outputHash = sha256;
  };
}
