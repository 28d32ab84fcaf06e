# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Evaluates arithmetic; the third of a chain of four"
SLOT="0/1"
IUSE="+float"
RDEPEND="dev-libs/liblex:="
DEPEND="${RDEPEND}"

src_compile() {
	local number=long
	use float && number=double
	sed -i "s/@NUMBER@/${number}/" expr.h || die
	small-c_library expr 1 expr.c -llex -lbuf
}

src_install() {
	small-c_install_library expr 1 expr.h
}
