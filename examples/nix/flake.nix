# The same world as a flake. It has no inputs, so its lock is empty.
{
  description = "A small world for experiments with Build Swarm";

  outputs = { self }:
    let world = import ./. { };
    in {
      packages.x86_64-linux = removeAttrs world [ "nixosConfigurations" ];
      inherit (world) nixosConfigurations;
    };
}
