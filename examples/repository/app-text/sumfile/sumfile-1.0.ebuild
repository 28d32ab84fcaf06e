# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints the CRC-32 of files"
RDEPEND="dev-libs/libcrc:="
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o sumfile sumfile.c -lcrc
}

src_install() {
	dobin sumfile
}
