# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints a greeting; the one package whose source is fetched"
SRC_URI="https://build-swarm.invalid/distfiles/${P}.tar.gz"
S="${WORKDIR}/${P}"

src_compile() {
	emake CC="${CC:-cc}" CFLAGS="${CFLAGS}" LDFLAGS="${LDFLAGS}"
}

src_install() {
	emake DESTDIR="${D}" PREFIX="${EPREFIX}/usr" install
}
