# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Never compiles, so that a failure can be looked at"
RDEPEND="dev-libs/libbuf:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o wontbuild wontbuild.c -lbuf
}

src_install() {
	dobin wontbuild
}
