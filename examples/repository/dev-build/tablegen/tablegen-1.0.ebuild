# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints lookup tables as C source; a build tool, needed only while others are built"

src_compile() {
	small-c_cc -o tablegen tablegen.c
}

src_install() {
	dobin tablegen
}
