# services.build-swarm.update: timers that offer profiles of a swarm the newest commit of a Git repository. The units are
# the same as systemd/swarm-update@.service and .timer, whose comments explain their settings.
{ config, lib, pkgs, utils, ... }:

let
  common = import ./common.nix { inherit lib pkgs; };
  cfg = config.services.build-swarm.update;
  each = f: lib.mapAttrs' (profile: update: lib.nameValuePair "swarm-update-${profile}" (f profile update)) cfg;
  firstHost = profile: update:
    if update.hosts == [ ] then
      throw "services.build-swarm.update.${profile}.pushLockTo needs a host in `hosts`"
    else
      lib.head update.hosts;
  repeated = option: lib.concatMap (value: [ option value ]);

  options = {
    inherit (common) package;

    source = lib.mkOption {
      type = lib.types.str;
      example = "git+https://git.example/config?ref=main";
      description = "The Git repository with the flake, as `git+URL?ref=BRANCH&dir=FOLDER`.";
    };

    hosts = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "desk" "nas" ];
      description = "NixOS machines to build, by their names in `nixosConfigurations`.";
    };

    attributes = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "packages.x86_64-linux.hello" ];
      description = "Attributes to build, as for `swarmctl profile add --attr`.";
    };

    updateInputs = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "nixpkgs" ];
      description = "Inputs of the flake whose newest content is locked, instead of the one in `flake.lock`.";
    };

    extraArgs = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "--upstream" "https://cache.nixos.org=cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=" ];
      description = "Further arguments for `swarmctl profile update`, the same as for `swarmctl profile add`.";
    };

    dates = lib.mkOption {
      type = lib.types.str;
      default = "03:00";
      example = "Sat 03:00";
      description = ''
        When to look for a new commit, in the format of {manpage}`systemd.time(7)`. Choose a time before the schedule of
        the profile.
      '';
    };

    every = lib.mkOption {
      type = lib.types.str;
      default = "1d";
      example = "7d";
      description = "Interval between the times in `dates`. The orchestrator warns after two missed intervals.";
    };

    randomizedDelaySec = lib.mkOption {
      type = lib.types.str;
      default = "10min";
      description = "A random delay up to this long is added.";
    };

    loginFile = lib.mkOption {
      type = lib.types.str;
      default = "/root/.config/swarmctl/config.toml";
      description = ''
        File with the address of the orchestrator and the admin token. Only root may be able to read it. `swarmctl login`
        writes it.
      '';
    };

    sshKeyFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/root/.ssh/id_ed25519";
      description = ''
        Private key for a repository that Git fetches over SSH. Add the key of the server to `programs.ssh.knownHosts`.
      '';
    };

    pushLockTo = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "git+ssh://git@git.example/config?ref=locks";
      description = ''
        Branch to which a `flake.lock` is pushed after each update: the one with which the newest system of the first
        machine in `hosts` was built.
      '';
    };
  };
in
{
  options.services.build-swarm.update = lib.mkOption {
    type = lib.types.attrsOf (lib.types.submodule { inherit options; });
    default = { };
    example = {
      home = { source = "git+https://git.example/config"; hosts = [ "desk" ]; updateInputs = [ "nixpkgs" ]; };
    };
    description = ''
      Profiles of the swarm, by name, to which the newest commit of a Git repository is offered. Create a profile with
      `swarmctl profile add`.
    '';
  };

  config = lib.mkIf (cfg != { }) {
    systemd.services = each (profile: update: {
      description = "Offer the newest content to the Build Swarm profile ${profile}";
      documentation = [ "https://github.com/build-swarm/build-swarm/blob/main/docs/handbook.md" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      startAt = update.dates;
      # A running update continues, and the next one uses the new version.
      restartIfChanged = false;
      path = [ config.nix.package pkgs.git pkgs.openssh ];
      environment = {
        SWARMCTL_CONFIG = "%d/swarmctl.toml";
        HOME = "%C/swarm-update/${profile}";
      } // lib.optionalAttrs (update.sshKeyFile != null) {
        GIT_SSH_COMMAND = "ssh -i %d/git.key";
      };

      serviceConfig = common.hardening // {
        Type = "oneshot";
        ExecStart = utils.escapeSystemdExecArgs ([
          "${update.package}/bin/swarmctl"
          "profile" "update" profile
          "--nix" "--candidate"
          "--every" update.every
          "--from" update.source
        ] ++ repeated "--host" update.hosts
          ++ repeated "--attr" update.attributes
          ++ repeated "--update-input" update.updateInputs
          ++ update.extraArgs);
        ExecStartPost = lib.optional (update.pushLockTo != null) (utils.escapeSystemdExecArgs [
          "${update.package}/bin/swarmctl"
          "ready" profile (firstHost profile update)
          "--push-lock" update.pushLockTo
        ]);
        TimeoutStartSec = "3h";

        LoadCredential = [ "swarmctl.toml:${update.loginFile}" ]
          ++ lib.optional (update.sshKeyFile != null) "git.key:${update.sshKeyFile}";

        DynamicUser = true;
        CacheDirectory = "swarm-update/${profile}";
        CacheDirectoryMode = "0700";
        UMask = "0077";
      };
    });
    systemd.timers = each (_: update: {
      timerConfig = {
        Persistent = true;
        RandomizedDelaySec = update.randomizedDelaySec;
      };
    });
  };
}
