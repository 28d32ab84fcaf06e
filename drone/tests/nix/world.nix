# What the tests build. `salt` makes all derivations new.
{ salt ? "0" }:
let
  seed = builtins.path { path = ./seed; name = "seed"; };
  note = builtins.toFile "note" "see ${builtins.toFile "detail" "hello"}";
  mk = name: script: extra: derivation ({
    inherit name salt;
    system = "x86_64-linux";
    builder = "${seed}/bin/sh";
    PATH = "${seed}/bin";
    args = [ "-e" "-c" script ];
  } // extra);
  link = n: mk "link-${toString n}" "cat $before > $out; echo ${toString n} >> $out" {
    before = if n == 0 then seed-list else link (n - 1);
  };
  seed-list = mk "seed-list" "echo seed > $out" { };
in rec {
  lib = mk "lib-1.0" ''mkdir -p $out/lib; echo "LIB $salt" > $out/lib/l.txt'' { };
  prog = mk "prog-2.0" ''
    mkdir -p $out/bin; printf '#!%s\ncat %s/lib/l.txt\n' $PATH/sh $lib > $out/bin/prog
    chmod +x $out/bin/prog; $out/bin/prog
  '' { inherit lib; };
  # Three outputs, of which two have the same content.
  multi = mk "multi-1.0" ''mkdir $out $dev $doc; echo run > $out/r'' { outputs = [ "out" "dev" "doc" ]; };
  user = mk "user-1.0" ''ls=$(cd $dev; echo *); echo "$ls" > $out; echo $dev >> $out'' { dev = multi.dev; };
  fixed = mk "fixed-1.0" ''printf 'hello\n' > $out'' {
    outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "hello\n";
  };
  noted = mk "noted-1.0" ''echo $note > $out'' { inherit note; };
  feature = mk "feature-1.0" ''echo x > $out'' { requiredSystemFeatures = [ "imaginary" ]; preferLocalBuild = true; };
  foreign = mk "foreign-1.0" ''echo x > $out'' { system = "riscv64-linux"; };
  place = mk "place-1.0" ''echo ${toString ./.} > $out'' { };
  chain = link 6;
  world = mk "world-1.0" ''mkdir $out; for p in $all; do ln -s $p $out/; done'' {
    all = [ prog multi user fixed noted place chain ];
  };

  addressed = mk "addressed" "echo > $out" {
    __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
  };
  broken = throw "this attribute is broken";
  no-derivation = 3;
  set = { inherit lib prog; };
  password = mk "password" (builtins.readFile /etc/passwd) { };
  fetched = mk "fetched" "x" { file = builtins.fetchurl "http://127.0.0.1:1/x"; };
  imported = import (mk "imported" "echo 3 > $out" { });
  endless = let f = n: f (n + 1) + 1; in f 0;
  large = builtins.foldl' (text: _: text + text) "xxxxxxxxxxxxxxxx" (builtins.genList (n: n) 40);
  slow-to-evaluate = let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1); in f 40;

  failing = mk "failing-1.0" ''echo begin; echo boom >&2; exit 3'' { };
  compiling = mk "compiling-1.0" ''echo "x.c:3:5: error: unknown type name 'foo'"; exit 1'' { };
  ticking = mk "ticking-1.0" ''while :; do echo tick; sleep 1; done'' { };
  filling = mk "filling-1.0" ''while :; do echo "a line of a file that fills the disk"; done > file'' { };
  silent = mk "silent-1.0" ''echo quiet-now; sleep 1000'' { };
  wrong-hash = mk "wrong-hash-1.0" ''echo other > $out'' {
    outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = builtins.hashString "sha256" "hello\n";
  };
}
