# Distributed under the terms of the MIT licence
# @ECLASS: small-c.eclass
# @SUPPORTED_EAPIS: 8
# @BLURB: builds the small C libraries and programs of the example repository
# @DESCRIPTION:
# The sources are in files/, so that nothing is fetched. A library is built as
# lib<name>.so.<soversion> with that soname and, with USE=static-libs, also as lib<name>.a.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI} is not supported, only 8 is" ;;
esac

HOMEPAGE="https://build-swarm.invalid/examples/${PN}"
LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"
S="${WORKDIR}"

# @FUNCTION: small-c_src_prepare
# @DESCRIPTION: Copies the sources out of files/.
small-c_src_prepare() {
	if [[ -d ${FILESDIR} ]]; then
		cp "${FILESDIR}"/* "${S}"/ || die "cannot copy the sources"
	fi
	default
}

# @FUNCTION: small-c_cc
# @USAGE: <compiler argument>...
# @DESCRIPTION: Runs the compiler against the headers and libraries of the build root.
small-c_cc() {
	local libdir="${ESYSROOT}/usr/$(get_libdir)"
	local command=(
		"${CC:-cc}" -std=c11 -D_POSIX_C_SOURCE=200809L -Wall ${CFLAGS}
		-DVERSION="\"${PV}\"" -I. -I"${ESYSROOT}/usr/include"
		"$@" ${LDFLAGS} -L"${libdir}" -Wl,-rpath-link,"${libdir}"
	)
	echo "${command[*]}"
	"${command[@]}" || die "compiling failed"
}

# @FUNCTION: small-c_library
# @USAGE: <name> <soversion> <source or -llibrary>...
# @DESCRIPTION: Compiles lib<name>.so.<soversion>, and lib<name>.a on request.
small-c_library() {
	local name=$1 soversion=$2
	shift 2
	small-c_cc -fPIC -shared -Wl,-soname,"lib${name}.so.${soversion}" \
		-o "lib${name}.so.${soversion}" "$@"
	if in_iuse static-libs && use static-libs; then
		local argument objects=()
		for argument in "$@"; do
			[[ ${argument} == *.c ]] || continue
			small-c_cc -c -o "${argument%.c}.o" "${argument}"
			objects+=( "${argument%.c}.o" )
		done
		"${AR:-ar}" rcs "lib${name}.a" "${objects[@]}" || die "ar failed"
	fi
}

# @FUNCTION: small-c_install_library
# @USAGE: <name> <soversion> <header>...
# @DESCRIPTION: Installs what small-c_library made.
small-c_install_library() {
	local name=$1 soversion=$2
	shift 2
	doheader "$@"
	dolib.so "lib${name}.so.${soversion}"
	dosym "lib${name}.so.${soversion}" "/usr/$(get_libdir)/lib${name}.so"
	if in_iuse static-libs && use static-libs; then
		dolib.a "lib${name}.a"
	fi
}

EXPORT_FUNCTIONS src_prepare
