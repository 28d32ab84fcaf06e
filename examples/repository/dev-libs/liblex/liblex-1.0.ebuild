# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Cuts arithmetic into tokens; the second of a chain of four"
SLOT="0/1"
RDEPEND="dev-libs/libbuf:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library lex 1 lex.c -lbuf
}

src_install() {
	small-c_install_library lex 1 lex.h
}
