# A small world for experiments, without nixpkgs: libraries, programs and tools in shell and awk, and a host that
# has the programs. `nix-build -A wordtally` builds one program; README.md describes the packages.
{
  system ? "x86_64-linux",
  # URL from which the source of postcard is fetched, such as http://127.0.0.1:8000. Default: distfiles/.
  mirror ? "",
}:
let
  inherit (import ./build.nix { inherit system; })
    tools build library tool program fetch;

  # Change this file to make a version bump.
  versions = import ./versions.nix;

  world = rec {
    inherit tools;

    # Libraries: the functions in `out`, their names in `dev`.
    libtext = library "text" versions.libtext { };
    libtally = library "tally" versions.libtally { inherit libtext; };
    libnumber = library "number" versions.libnumber { };
    libexpr = library "expr" versions.libexpr { inherit libnumber; };

    # Tools that make input for other builds. Nothing needs the tools at run time.
    framemaker = tool "framemaker" "1.0" { };
    frames = build {
      name = "frames";
      version = "2.0";
      outputs = [ "out" "doc" ];
      pictures = ./tools/frames.txt;
      script = ''
        mkdir -p $out/share $doc/share/doc
        ${framemaker}/bin/framemaker $pictures > $out/share/frames
        echo "frames $version: $(cut -f1 $out/share/frames | tr '\n' ' ')" > $doc/share/doc/frames
      '';
    };
    primes = build {
      name = "primes";
      version = "1.0";
      generator = ./tools/primes.awk;
      script = "mkdir -p $out/share; awk -f $generator > $out/share/primes";
    };

    # Sources whose hash is known in advance: they may use the network.
    words = fetch {
      name = "words-1.0";
      file = ./distfiles/words.txt;
      sha256 = "00275ea3b70a5217668c16a35037774d00f5105dddd6b4a620aeaf21af717891";
    };
    postcard-source = fetch {
      name = "postcard-source-1.0";
      file = ./distfiles/postcard-1.0.txt;
      inherit mirror;
      sha256 = "22c13901af5cfd7774b072991725534d4ea27346e65e3c84c928a730f24a8e5c";
    };

    # Programs.
    wordtally = program "wordtally" "1.3" { inherit libtally libtext; };
    topwords = program "topwords" "1.0" { inherit libtally words; };
    reckon = program "reckon" "1.1" { inherit libexpr; };
    factors = program "factors" "1.0" { inherit libnumber primes; };
    banner = program "banner" "2.0" { inherit libtext frames; };
    postcard = program "postcard" "1.0" { source = postcard-source; };

    # A program written for a version of libtext that never existed, and a program that needs it.
    sparkle = program "sparkle" "0.1" { inherit libtext; };
    fireworks = program "fireworks" "0.1" { inherit sparkle; };
  };

  atlas = import ./host {
    inherit build tools;
    inherit (world) banner;
    packages = with world; [ wordtally topwords reckon factors banner postcard ];
  };
in
world
// {
  inherit (atlas) kernel initrd;
  # Hosts are at the same place in this set as in a flake with nixpkgs.
  nixosConfigurations.atlas.config.system.build.toplevel = atlas.toplevel;
}
