# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Fills its input into lines; stands above the cycle"
RDEPEND="
	media-libs/glyphkit:=
	media-libs/linefit:=
"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o typeset typeset.c -llinefit -lglyphkit
}

src_install() {
	dobin typeset
}
