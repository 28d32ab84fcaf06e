# Options and settings that the modules share.
{ lib, pkgs }:

{
  package = lib.mkOption {
    type = lib.types.package;
    default = pkgs.build-swarm or (pkgs.callPackage ../package.nix { });
    defaultText = lib.literalExpression "pkgs.build-swarm";
    description = "The package with the programs of Build Swarm.";
  };

  # For a service that needs no privileges, only the network and its own directories.
  hardening = {
    CapabilityBoundingSet = "";
    DeviceAllow = "";
    LockPersonality = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX";
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [ "@system-service" "~@privileged @resources" ];
  };
}
