# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Prints the prime factors of numbers"
RDEPEND="
	dev-libs/libbuf:=
	dev-libs/libprime:=
"
DEPEND="${RDEPEND}"

src_compile() {
	small-c_cc -o factors factors.c -lprime -lbuf
}

src_install() {
	dobin factors
}
