#!@tools@/sh
# banner FRAME TEXT: the text in a frame.
PATH=@tools@
. @libtext@/lib/text.sh
[ "${1-}" != --version ] || { echo "banner @version@"; exit; }
frame=$(grep "^$1	" @frames@/share/frames) || { echo "banner: there is no frame $1" >&2; exit 1; }
width=$((${#2} + 4))
echo "$2" | text_centre "$width" | awk -v frame="$frame" -v width="$width" '
	function rule(left, middle, right) {
		line = left
		for (n = 0; n < width; n++) line = line middle
		print line right
	}
	BEGIN { split(frame, part, "\t"); rule(part[2], part[3], part[4]) }
	{ print part[5] $0 part[6] }
	END { rule(part[7], part[8], part[9]) }'
