#!@tools@/sh
# What a kernel starts first: activates the system and goes on with systemd.
@out@/bin/switch-to-configuration boot
exec @out@/systemd/lib/systemd/systemd
