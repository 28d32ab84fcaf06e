# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="The first thousand prime numbers, generated while it is built"
SLOT="0/1"
IUSE="static-libs"
BDEPEND="dev-build/tablegen"

src_compile() {
	"${BROOT}"/usr/bin/tablegen primes 1000 > table.h || die "tablegen failed"
	small-c_library prime 1 prime.c
}

src_install() {
	small-c_install_library prime 1 prime.h
}
