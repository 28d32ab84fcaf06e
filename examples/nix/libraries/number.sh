# libnumber @version@: whole numbers.

number_version() { echo "@version@"; }

# number_check TEXT: fails unless it is a whole number.
number_check() {
	case $1 in
		'' | *[!0-9]*) echo "$1 is not a whole number" >&2; return 1 ;;
	esac
}
