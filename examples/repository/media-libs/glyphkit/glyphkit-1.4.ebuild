# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Widths of characters; needs linefit, which needs it, unless built without"
SLOT="0/1"
IUSE="+linefit"
RDEPEND="
	dev-libs/libutf:=
	linefit? ( media-libs/linefit )
"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library glyphkit 1 glyphkit.c -lutf
	# The preview is a program of its own, so that the libraries do not link to each other.
	if use linefit; then
		small-c_cc -o glyphview glyphview.c libglyphkit.so.1 -lutf -llinefit
	fi
}

src_install() {
	small-c_install_library glyphkit 1 glyphkit.h
	if use linefit; then
		dobin glyphview
	fi
}
