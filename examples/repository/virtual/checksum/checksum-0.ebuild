# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Virtual for a program that prints checksums of files"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="|| ( app-text/sumfile app-text/adler )"
