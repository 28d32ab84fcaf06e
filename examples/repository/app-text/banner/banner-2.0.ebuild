# Distributed under the terms of the MIT licence

EAPI=8

inherit small-c

DESCRIPTION="Writes numbers in large letters, with the fonts that were chosen"
IUSE="banner_fonts_block banner_fonts_slim"
REQUIRED_USE="|| ( banner_fonts_block banner_fonts_slim )"
BDEPEND="dev-build/embed"

src_compile() {
	local font fonts=()
	for font in block slim; do
		if use "banner_fonts_${font}"; then
			"${BROOT}"/usr/bin/embed "${font}" < "${font}.font" > "${font}.h" \
				|| die "embed failed"
			fonts+=( "-DWITH_${font^^}" )
		fi
	done
	small-c_cc "${fonts[@]}" -o banner banner.c
}

src_install() {
	dobin banner
}
