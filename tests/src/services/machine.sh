#!/usr/bin/env bash
# A machine in namespaces: this machine's files below an overlay in memory, a network of its own, the service
# files in place as a package would put them, and a real init as its first process. Ends with that process.
#
#   machine.sh FOLDER COMMAND...    FOLDER: an empty directory; COMMAND: the first process
#
# From the environment: MACHINE, a unique name; REPOSITORY, the checkout; PROGRAMS, the folder with the programs;
# BARE, if the service files are not to be installed.
set -eu
folder=$1
shift

if [[ ${INSIDE:-} != yes ]]; then
	# In groups of its own in every hierarchy, so that init's own groups end up below them.
	(
		for hierarchy in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do
			[[ -w ${hierarchy}cgroup.procs ]] || continue
			group=${hierarchy}$MACHINE
			mkdir "$group"
			if [[ -e $group/cpuset.cpus && -z $(cat "$group/cpuset.cpus") ]]; then
				cat "${hierarchy}cpuset.cpus" >"$group/cpuset.cpus"
				cat "${hierarchy}cpuset.mems" >"$group/cpuset.mems"
			fi
			echo $$ >"$group/cgroup.procs"
		done
	)
	export INSIDE=yes
	exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private \
		bash "${BASH_SOURCE[0]}" "$folder" "$@"
fi

mount -t tmpfs -o mode=755 machine "$folder"
mkdir "$folder"/upper "$folder"/work "$folder"/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"
for program in swarm-orchestrator swarm-drone swarmctl; do
	: >usr/bin/$program
	chmod 755 usr/bin/$program
	mount --bind "$PROGRAMS/$program" usr/bin/$program
done
mkdir -p srv/build-swarm
mount --bind "$REPOSITORY" srv/build-swarm
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
# A build root takes a file system that is no overlay.
mkdir -p var/cache/swarm-drone
mount -t tmpfs -o mode=1777 tmp var/tmp
mount -t tmpfs -o mode=755 cache var/cache/swarm-drone
ip link set lo up

# Nothing of this machine's own services starts in that one, but the log.
rm -rf etc/systemd/system usr/lib/systemd/system/*.wants etc/runlevels
mkdir -p etc/conf.d etc/init.d etc/systemd/system usr/lib/systemd/system/sockets.target.wants etc/runlevels/default
ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket usr/lib/systemd/system/sockets.target.wants/
rm -rf var/log/journal

if [[ -z ${BARE:-} ]]; then
	from=srv/build-swarm
	install -m 644 $from/systemd/*.service $from/systemd/*.timer usr/lib/systemd/system/
	install -m 644 $from/systemd/build-swarm.sysusers usr/lib/sysusers.d/build-swarm.conf
	install -m 644 $from/systemd/build-swarm.tmpfiles usr/lib/tmpfiles.d/build-swarm.conf
	for service in swarm-orchestrator swarm-drone; do
		install -m 755 $from/openrc/$service etc/init.d/$service
		install -m 644 $from/openrc/$service.confd etc/conf.d/$service
	done
fi
# What a Gentoo's own scripts provide.
printf '#!/sbin/openrc-run\ndepend() { provide net; }\nstart() { :; }\n' >etc/init.d/loopback
chmod 755 etc/init.d/loopback
# What openrc makes when it boots; without these folders every service counts as starting already.
for state in starting started stopping inactive wasinactive failed hotplugged daemons options exclusive scheduled tmp; do
	mkdir -p run/openrc/$state
done
echo default >run/openrc/softlevel

mkdir old
pivot_root . old
umount -l old
# As whoever runs systemd in a container has to: it hands services their credentials by mounts that spread.
mount --make-rshared /
if [[ -z ${BARE:-} ]]; then
	systemd-sysusers build-swarm.conf
	systemd-tmpfiles --create build-swarm.conf
fi
: >/run/machine-is-made
exec "$@"
