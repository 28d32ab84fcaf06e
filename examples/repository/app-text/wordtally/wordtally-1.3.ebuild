# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Counts the words of its input"
RDEPEND="
	dev-libs/libtally:=
	dev-libs/libutf:=
"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o wordtally wordtally.c -ltally -lbuf -lutf
}

src_install() {
	dobin wordtally
}
