# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints values of INI files"
IUSE="json pretty"
REQUIRED_USE="pretty? ( json )"
RDEPEND="dev-libs/libini:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc $(usex json -DWITH_JSON '') $(usex pretty -DWITH_PRETTY '') -o confget confget.c -lini
}

src_install() {
	dobin confget
}
