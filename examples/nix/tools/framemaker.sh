#!@tools@/sh
# framemaker @version@: reads pictures of frames, and writes for each its name and its eight parts.
PATH=@tools@
[ "${1-}" != --version ] || { echo "framemaker @version@"; exit; }
awk '
	/^[a-z]+$/ { name = $0; line = 0; next }
	{ line++ }
	line == 1 { top = substr($0, 1, 1) "\t" substr($0, 2, 1) "\t" substr($0, 3, 1) }
	line == 2 { sides = substr($0, 1, 1) "\t" substr($0, 3, 1) }
	line == 3 { print name "\t" top "\t" sides "\t" substr($0, 1, 1) "\t" substr($0, 2, 1) "\t" substr($0, 3, 1) }
' "$1"
