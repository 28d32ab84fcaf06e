# All programs of Build Swarm, with manual pages and completions:
#   nix-build --expr 'with import <nixpkgs> { }; callPackage ./nix/package.nix { }'
{ lib, rustPlatform, installShellFiles, makeWrapper, curl, openssl, util-linux }:

rustPlatform.buildRustPackage {
  pname = "build-swarm";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;

  src = lib.cleanSourceWith {
    src = ../.;
    # The programs depend neither on what Cargo builds nor on what only people read.
    filter = path: type: lib.cleanSourceFilter path type && baseNameOf path != "target";
  };
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [ "--package=swarm-orchestrator" "--package=swarm-drone" "--package=swarmctl" ];

  nativeBuildInputs = [ installShellFiles makeWrapper ];

  # The tests need Portage, Redis, systemd and more: run scripts/test in a checkout.
  doCheck = false;

  postInstall = ''
    install -D -m 755 scripts/swarm-switch -t $out/bin
    # The script uses the Nix of the machine.
    wrapProgram $out/bin/swarm-switch --prefix PATH : ${lib.makeBinPath [ curl openssl util-linux ]}
    $out/bin/swarmctl man man
    for program in orchestrator drone; do
      $out/bin/swarm-$program --print-man 5 > man/$program.toml.5
      $out/bin/swarm-$program --print-man 8 > man/swarm-$program.8
    done
    installManPage man/*
    installShellCompletion --cmd swarmctl \
      --bash <($out/bin/swarmctl completions bash) \
      --zsh <($out/bin/swarmctl completions zsh) \
      --fish <($out/bin/swarmctl completions fish)
  '';

  meta = {
    description = "Build farm for Gentoo and Nix";
    license = [ lib.licenses.mit lib.licenses.asl20 ];
    platforms = lib.platforms.linux;
    mainProgram = "swarmctl";
  };
}
