# libtally @version@: counts words.
. @libtext@/lib/text.sh

tally_version() { echo "@version@"; }

# tally_words: each word of the input with how often it is there, the most frequent first.
tally_words() { text_words | sort | uniq -c | sort -k1,1nr -k2 | sed 's/^ *//'; }
