# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Counts words; its next version has another subslot"
SLOT="0/1"
IUSE="static-libs"
RDEPEND="dev-libs/libbuf:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library tally 1 tally.c -lbuf
}

src_install() {
	small-c_install_library tally 1 tally.h
}
