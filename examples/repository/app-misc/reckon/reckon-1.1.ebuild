# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Calculator; the last of a chain of four"
RDEPEND="dev-libs/libexpr:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o reckon reckon.c -lexpr
}

src_install() {
	dobin reckon
}
