#!@tools@/sh
# switch-to-configuration switch|boot|test|dry-activate: on a real host it activates the system now, at the next
# boot, or both. This one writes down what was asked of it, below $ROOT or /.
PATH=@tools@
case ${1-} in
	switch | boot | test) ;;
	dry-activate) echo "would activate @out@"; exit ;;
	*) echo "usage: switch-to-configuration switch|boot|test|dry-activate" >&2; exit 64 ;;
esac
mkdir -p "${ROOT-}/run" || exit
echo "$1 @out@" >>"${ROOT-}/run/activated"
echo "activated @out@ ($1)"
