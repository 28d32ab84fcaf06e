# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="CRC-32 with a table that a build tool generates"
SLOT="0/1"
BDEPEND="dev-build/tablegen"

src_compile() {
	"${BROOT}"/usr/bin/tablegen crc32 > table.h || die "tablegen failed"
	small-c_library crc 1 crc.c
}

src_install() {
	small-c_install_library crc 1 crc.h
}
