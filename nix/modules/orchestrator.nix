# services.build-swarm.orchestrator: the server that plans, hands out work, signs and publishes. The unit is the same as
# systemd/swarm-orchestrator.service, whose comments explain its settings.
{ config, lib, pkgs, ... }:

let
  common = import ./common.nix { inherit lib pkgs; };
  cfg = config.services.build-swarm.orchestrator;
  format = pkgs.formats.toml { };
  file = "/etc/build-swarm/orchestrator.toml";
  program = "${cfg.package}/bin/swarm-orchestrator --config ${file}";
  port = address: lib.toInt (lib.last (lib.splitString ":" address));
in
{
  options.services.build-swarm.orchestrator = {
    enable = lib.mkEnableOption "the orchestrator of Build Swarm";

    inherit (common) package;

    listen = lib.mkOption {
      type = lib.types.str;
      default = "0.0.0.0:8100";
      example = "192.168.1.2:8100";
      description = ''
        Address and port for plain HTTP, from which workstations fetch signed packages. Other machines use the API
        over TLS.
      '';
    };

    tlsListen = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "0.0.0.0:8143";
      description = ''
        Address and port for HTTPS, which drones and administrators on other machines need. `null` turns it off.
      '';
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether to open the ports of `listen` and `tlsListen` in the firewall.";
    };

    settings = lib.mkOption {
      type = format.type;
      default = { };
      example = { policy.quarantine_retry = "3d"; };
      description = ''
        Further settings of orchestrator.toml; orchestrator.example.toml explains all of them. Everybody can read the
        resulting file: for a secret, name a file or a credential (`"credential:NAME"`).
      '';
    };

    credentials = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = { mail = "/root/mail.password"; };
      description = "Files with secrets, by name. `settings` refers to them as `credential:NAME`.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.build-swarm.orchestrator.settings = {
      listen = lib.mkDefault cfg.listen;
    } // lib.optionalAttrs (cfg.tlsListen != null) {
      tls.listen = lib.mkDefault cfg.tlsListen;
    };

    environment.etc."build-swarm/orchestrator.toml".source =
      format.generate "orchestrator.toml" cfg.settings;
    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall
      ([ (port cfg.listen) ] ++ lib.optional (cfg.tlsListen != null) (port cfg.tlsListen));

    users.users.build-swarm = {
      isSystemUser = true;
      group = "build-swarm";
      home = "/var/lib/build-swarm";
      description = "Build Swarm orchestrator";
    };
    users.groups.build-swarm = { };

    systemd.services.swarm-orchestrator = {
      description = "Build Swarm orchestrator: plans, hands out, checks, signs and publishes packages";
      documentation = [ "https://github.com/build-swarm/build-swarm/blob/main/docs/handbook.md" ];
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "time-sync.target" ];
      startLimitIntervalSec = 0;
      # Running builds continue during a restart.
      restartTriggers = [ config.environment.etc."build-swarm/orchestrator.toml".source ];

      serviceConfig = common.hardening // {
        Type = "notify";
        ExecStart = program;
        ExecReload = [ "${program} --check-config" "${pkgs.coreutils}/bin/kill -HUP $MAINPID" ];
        User = "build-swarm";
        Group = "build-swarm";
        Restart = "on-failure";
        RestartSec = 5;
        RestartPreventExitStatus = "75 78";
        WatchdogSec = 90;
        TimeoutStartSec = "10min";
        TimeoutStopSec = 60;
        TimeoutAbortSec = 30;
        LimitNOFILE = 65536;

        LoadCredential = [
          "admin.token:swarm-orchestrator.admin.token"
          "metrics.token:swarm-orchestrator.metrics.token"
        ] ++ lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;

        StateDirectory = "build-swarm";
        StateDirectoryMode = "0700";
        LogsDirectory = "build-swarm";
        LogsDirectoryMode = "0750";
        UMask = "0077";

        MemoryDenyWriteExecute = true;
        PrivateUsers = true;
        ProcSubset = "pid";
        RemoveIPC = true;
        # Where the large files are, if not in the state directory.
        ReadWritePaths = lib.optional (cfg.settings ? artifact_dir) cfg.settings.artifact_dir;
      };
    };
  };
}
