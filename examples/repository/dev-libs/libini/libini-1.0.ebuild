# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Reads INI files"
SLOT="0/1"
IUSE="static-libs"
RDEPEND="dev-libs/libbuf:=[static-libs?]"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library ini 1 ini.c -lbuf
}

src_install() {
	small-c_install_library ini 1 ini.h
}
