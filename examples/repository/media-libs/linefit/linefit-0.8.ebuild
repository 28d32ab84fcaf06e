# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Breaks text into lines; needs glyphkit, which needs it, unless built without"
SLOT="0/1"
IUSE="+glyphkit"
RDEPEND="glyphkit? ( media-libs/glyphkit )"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_library linefit 1 linefit.c $(usex glyphkit '-DWITH_GLYPHKIT -lglyphkit -lutf' '')
}

src_install() {
	small-c_install_library linefit 1 linefit.h
}
