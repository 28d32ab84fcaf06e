{
  description = "Build Swarm: a build farm for Gentoo and Nix";

  # No inputs: the overlay and the modules take everything from the nixpkgs of the system that uses them.
  outputs = { self }: {
    overlays.default = final: _: {
      build-swarm = final.callPackage ./nix/package.nix { };
    };

    nixosModules = {
      orchestrator = ./nix/modules/orchestrator.nix;
      drone = ./nix/modules/drone.nix;
      switch = ./nix/modules/switch.nix;
      update = ./nix/modules/update.nix;
      default.imports = [
        ./nix/modules/orchestrator.nix
        ./nix/modules/drone.nix
        ./nix/modules/switch.nix
        ./nix/modules/update.nix
      ];
    };
  };
}
