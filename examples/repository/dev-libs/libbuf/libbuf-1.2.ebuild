# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Growable byte buffer; the first of a chain of four"
SLOT="0/1"
IUSE="static-libs"

src_compile() {
	small-c_library buf 1 buf.c
}

src_install() {
	small-c_install_library buf 1 buf.h
}
