# A pretend NixOS host: the layout of a system as switch-to-configuration, the boot loader and swarm-switch expect it,
# with a text file as the kernel. It shows what must be built before a host may switch.
{ build, tools, banner, packages }:
rec {
  kernel = build {
    name = "linux";
    version = "6.1.99";
    script = "mkdir -p $out/lib/modules/$version; echo \"a kernel, version $version\" > $out/bzImage";
  };

  initrd = build {
    name = "initrd";
    version = "1.0";
    init = ./init.sh;
    inherit kernel;
    script = "mkdir -p $out; cat $init $kernel/bzImage | gzip -n > $out/initrd";
  };

  # The daemon that is started first. When it changes, the host must reboot, as after a change of the kernel.
  systemd = build {
    name = "systemd";
    version = "255.1";
    inherit tools;
    script = ''
      mkdir -p $out/lib/systemd
      printf '#!%s/bin/sh\necho "systemd %s"\n' $tools $version > $out/lib/systemd/systemd
      chmod +x $out/lib/systemd/systemd
    '';
  };

  etc = build {
    name = "etc";
    version = "1.0";
    inherit banner;
    script = ''
      mkdir -p $out/etc
      echo atlas > $out/etc/hostname
      $banner/bin/banner round "welcome to atlas" > $out/etc/motd
    '';
  };

  # All programs of the host in one directory, as links.
  sw = build {
    name = "system-path";
    version = "1.0";
    inherit packages;
    script = ''
      mkdir -p $out/bin
      for package in $packages; do ln -s $package/bin/* $out/bin/; done
    '';
  };

  toplevel = build {
    name = "nixos-system-atlas";
    version = "1.0";
    inherit kernel initrd systemd etc sw tools;
    init = ./init.sh;
    switch = ./switch-to-configuration.sh;
    script = ''
      mkdir -p $out/bin
      ln -s $kernel/bzImage $out/kernel
      ln -s $kernel $out/kernel-modules
      ln -s $initrd/initrd $out/initrd
      ln -s $systemd $out/systemd
      ln -s $etc/etc $out/etc
      ln -s $sw $out/sw
      echo quiet > $out/kernel-params
      echo "$version" > $out/nixos-version
      echo "$system" > $out/system
      for script in init=$init bin/switch-to-configuration=$switch; do
        sed "s|@tools@|$tools/bin|; s|@out@|$out|" ''${script#*=} > $out/''${script%%=*}
        chmod +x $out/''${script%%=*}
      done
    '';
  };
}
