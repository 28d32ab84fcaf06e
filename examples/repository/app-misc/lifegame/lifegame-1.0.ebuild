# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Lets a glider fly"
RDEPEND="dev-libs/libgrid:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o lifegame lifegame.c -lgrid
}

src_install() {
	dobin lifegame
}
