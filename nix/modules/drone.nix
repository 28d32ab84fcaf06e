# services.build-swarm.drone: builds packages for the orchestrator. The unit is the same as systemd/swarm-drone.service,
# whose comments explain its settings.
{ config, lib, pkgs, ... }:

let
  common = import ./common.nix { inherit lib pkgs; };
  cfg = config.services.build-swarm.drone;
  format = pkgs.formats.toml { };
  file = "/etc/build-swarm/drone.toml";
  program = "${cfg.package}/bin/swarm-drone --config ${file}";
in
{
  options.services.build-swarm.drone = {
    enable = lib.mkEnableOption "a drone of Build Swarm";

    inherit (common) package;

    orchestrators = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      example = [ "https://nas:8143" ];
      description = "Addresses of all orchestrators of the swarm.";
    };

    fingerprint = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
      description = ''
        Fingerprint of the orchestrator's certificate; `swarmctl drone token` prints it. Without a fingerprint, the
        certificate must be signed by an authority that this machine trusts.
      '';
    };

    tokenFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/root/enrol-token";
      description = ''
        File with the enrolment token that `swarmctl drone token` prints. Only root may be able to read the file. It is
        needed until the drone is enrolled.
      '';
    };

    settings = lib.mkOption {
      type = format.type;
      default = { };
      example = { profiles = [ "home" ]; builder.memory_max = "8GiB"; };
      description = "Further settings of drone.toml; drone.example.toml explains all of them.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.build-swarm.drone.settings = {
      orchestrators = lib.mkDefault cfg.orchestrators;
    } // lib.optionalAttrs (cfg.fingerprint != null) {
      fingerprint = lib.mkDefault cfg.fingerprint;
    };

    environment.etc."build-swarm/drone.toml".source = format.generate "drone.toml" cfg.settings;

    systemd.services.swarm-drone = {
      description = "Build Swarm drone: builds packages for the orchestrator";
      documentation = [ "https://github.com/build-swarm/build-swarm/blob/main/docs/handbook.md" ];
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      startLimitIntervalSec = 0;
      reloadTriggers = [ config.environment.etc."build-swarm/drone.toml".source ];
      # A stopping drone finishes its builds, which would delay the switch to a new system. A new version starts
      # at the next boot or with `systemctl restart`.
      restartIfChanged = false;
      path = [ config.nix.package pkgs.util-linux pkgs.git ];

      serviceConfig = {
        Type = "notify";
        ExecStart = program;
        ExecReload = [ "${program} --check-config" "${pkgs.coreutils}/bin/kill -HUP $MAINPID" ];
        Restart = "on-failure";
        RestartSec = 10;
        RestartPreventExitStatus = "75 77 78";
        WatchdogSec = 180;
        TimeoutStartSec = "15min";
        KillMode = "mixed";
        SendSIGKILL = true;
        TimeoutStopSec = "40min";
        TimeoutAbortSec = 30;
        OOMPolicy = "continue";
        Delegate = true;
        Nice = 5;
        LimitNOFILE = 65536;

        LoadCredential = [
          "enrol.token:${if cfg.tokenFile == null then "swarm-drone.enrol.token" else cfg.tokenFile}"
          "drone.credential:swarm-drone.credential"
        ];

        StateDirectory = "swarm-drone";
        StateDirectoryMode = "0755";
        CacheDirectory = "swarm-drone";
        LogsDirectory = "swarm-drone";

        DevicePolicy = "closed";
        ProtectClock = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        RestrictRealtime = true;
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_NETLINK AF_UNIX";
        RestrictNamespaces = "cgroup ipc mnt net pid user uts";
        CapabilityBoundingSet = "~CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_TIME CAP_SYSLOG CAP_WAKE_ALARM CAP_SYS_RAWIO CAP_SYS_TTY_CONFIG CAP_LINUX_IMMUTABLE CAP_BPF CAP_PERFMON";
      };
    };
  };
}
