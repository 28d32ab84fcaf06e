# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Counts words, sorted; it has another subslot than 1.0"
SLOT="0/2"
IUSE="static-libs"
RDEPEND="dev-libs/libbuf:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library tally 2 tally2.c -lbuf
}

src_install() {
	mv tally2.h tally.h || die
	small-c_install_library tally 2 tally.h
}
