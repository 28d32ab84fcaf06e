# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Walks through UTF-8 text"
SLOT="0/1"

src_compile() {
	small-c_library utf 1 utf.c
}

src_install() {
	small-c_install_library utf 1 utf.h
}
