# services.build-swarm.switch: switches this machine to each system that the swarm has ready for it.
{ config, lib, pkgs, utils, ... }:

let
  common = import ./common.nix { inherit lib pkgs; };
  cfg = config.services.build-swarm.switch;
in
{
  options.services.build-swarm.switch = {
    enable = lib.mkEnableOption "switching to the systems that Build Swarm has ready for this machine";

    inherit (common) package;

    url = lib.mkOption {
      type = lib.types.str;
      example = "http://nas:8100/binhost/home";
      description = "Address of the profile's cache, as `swarmctl client setup` prints it.";
    };

    channel = lib.mkOption {
      type = lib.types.enum [ "stable" "staging" ];
      default = "stable";
      description = "The channel to follow. `staging` has what has not been promoted yet.";
    };

    publicKeys = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = ''
        Public keys of the cache, as `swarmctl client setup` prints them. You can set them in
        `nix.settings.trusted-public-keys` instead.
      '';
    };

    host = lib.mkOption {
      type = lib.types.str;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "Name of this machine in `nixosConfigurations`.";
    };

    action = lib.mkOption {
      type = lib.types.enum [ "auto" "switch" "boot" ];
      default = "auto";
      description = ''
        When a new system is used. `auto` switches at once, unless the kernel, the initrd, systemd or D-Bus changed:
        then the new system starts at the next boot.
      '';
    };

    dates = lib.mkOption {
      type = lib.types.str;
      default = "hourly";
      example = "*-*-* 05:00";
      description = "When to look for a new system, in the format of {manpage}`systemd.time(7)`.";
    };

    randomizedDelaySec = lib.mkOption {
      type = lib.types.str;
      default = "10min";
      description = "A random delay up to this long is added, so that not all machines ask at the same time.";
    };
  };

  config = lib.mkIf cfg.enable {
    systemd.services.swarm-switch = {
      description = "Switch to the system that Build Swarm has ready";
      documentation = [ "https://github.com/build-swarm/build-swarm/blob/main/docs/handbook.md" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      startAt = cfg.dates;
      # This service switches the system; the switch must not stop it.
      restartIfChanged = false;
      unitConfig.X-StopOnRemoval = false;
      path = [ config.nix.package pkgs.coreutils pkgs.gnutar pkgs.xz pkgs.gzip ];
      environment.HOME = "/root";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = utils.escapeSystemdExecArgs ([
          "${cfg.package}/bin/swarm-switch"
          "--url" cfg.url
          "--channel" cfg.channel
          "--host" cfg.host
          "--action" cfg.action
        ] ++ lib.concatMap (key: [ "--key" key ]) cfg.publicKeys);
        StateDirectory = "swarm-switch";
        # 75: something is not in the caches yet; a later run finds it.
        SuccessExitStatus = 75;
      };
    };
    systemd.timers.swarm-switch.timerConfig = {
      Persistent = true;
      RandomizedDelaySec = cfg.randomizedDelaySec;
    };
  };
}
