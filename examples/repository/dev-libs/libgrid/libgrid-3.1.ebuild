# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Conway's game of life on a small torus"
SLOT="0/3"
IUSE="static-libs"

src_compile() {
	small-c_library grid 3 grid.c
}

src_install() {
	small-c_install_library grid 3 grid.h
}
