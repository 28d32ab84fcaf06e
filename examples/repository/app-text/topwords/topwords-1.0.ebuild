# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints the most frequent word of its input"
RDEPEND="dev-libs/libtally:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o topwords topwords.c -ltally -lbuf
}

src_install() {
	dobin topwords
}
