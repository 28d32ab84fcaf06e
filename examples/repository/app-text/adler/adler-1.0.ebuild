# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints the Adler-32 of files; the other provider of virtual/checksum"

src_compile() {
	small-c_cc -o adler adler.c
}

src_install() {
	dobin adler
}
