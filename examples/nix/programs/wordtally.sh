#!@tools@/sh
# wordtally: counts the words of its input.
PATH=@tools@
. @libtally@/lib/tally.sh
[ "${1-}" != --version ] || { echo "wordtally @version@ with libtally $(tally_version)"; exit; }
tally_words
