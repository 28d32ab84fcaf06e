# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Turns a file into a C array; a build tool, needed only while others are built"

src_compile() {
	small-c_cc -o embed embed.c
}

src_install() {
	dobin embed
}
