# Distributed under the terms of the MIT or Apache-2.0 license, at your option

EAPI=8

RUST_MIN_VER="1.95.0"

inherit cargo git-r3 shell-completion systemd tmpfiles

DESCRIPTION="Build farm for Gentoo and Nix binary packages"
HOMEPAGE="https://github.com/build-swarm/build-swarm"
EGIT_REPO_URI="https://github.com/build-swarm/build-swarm.git"

LICENSE="|| ( MIT Apache-2.0 )"
# The crates, which are linked statically
LICENSE+=" 0BSD Apache-2.0 Apache-2.0-with-LLVM-exceptions BSD BSD-2 BZIP2 Boost-1.0 ISC MIT Unicode-3.0 ZLIB"
SLOT="0"

# The tests need Redis, systemd, OpenRC, Nix and network namespaces: run scripts/test in a checkout.
RESTRICT="test"

RDEPEND="
	acct-group/build-swarm
	acct-user/build-swarm
"
IDEPEND="${RDEPEND}"

QA_FLAGS_IGNORED="usr/bin/.*"

src_unpack() {
	git-r3_src_unpack
	cargo_live_src_unpack
}

src_configure() {
	# The version of the programs names the commit.
	export SWARM_COMMIT=${EGIT_VERSION:-}
	cargo_src_configure --package swarm-orchestrator --package swarm-drone --package swarmctl
}

src_install() {
	local programs service shell
	programs=$(cargo_target_dir)
	dobin "${programs}"/{swarm-orchestrator,swarm-drone,swarmctl}

	for service in swarm-orchestrator swarm-drone; do
		newinitd "openrc/${service}" "${service}"
		newconfd "openrc/${service}.confd" "${service}"
		systemd_dounit "systemd/${service}.service"
	done
	systemd_dounit systemd/swarm-update@.service systemd/swarm-update@.timer
	newtmpfiles systemd/build-swarm.tmpfiles build-swarm.conf

	PROGRAMS=${programs} scripts/man "${T}/man" >/dev/null || die
	doman "${T}"/man/man?/*
	for shell in bash zsh fish; do
		"${programs}/swarmctl" completions "${shell}" >"${T}/swarmctl.${shell}" || die
	done
	newbashcomp "${T}/swarmctl.bash" swarmctl
	newzshcomp "${T}/swarmctl.zsh" _swarmctl
	dofishcomp "${T}/swarmctl.fish"

	dodoc CHANGELOG.md README.md docs/handbook.md docs/openapi.json
	dodoc orchestrator/orchestrator.example.toml drone/drone.example.toml
	docinto examples
	dodoc -r examples/grafana examples/prometheus
}

pkg_postinst() {
	tmpfiles_process build-swarm.conf
	elog "Installation continues with the configuration: see handbook.md in /usr/share/doc/${PF}"
}
