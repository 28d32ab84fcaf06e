#!@tools@/sh
# topwords: the most frequent words of its input, without those that every text has.
PATH=@tools@
. @libtally@/lib/tally.sh
[ "${1-}" != --version ] || { echo "topwords @version@"; exit; }
tally_words | grep -vwFf @words@ | head -n 3
