# libtext @version@: texts of several lines.

text_version() { echo "@version@"; }

# text_words: the words of the input, one a line, in small letters.
text_words() { tr -cs "[:alpha:]'" '\n' | tr '[:upper:]' '[:lower:]' | grep -v '^$'; }

# text_centre WIDTH: the input, each line in the middle of so many columns.
text_centre() {
	awk -v width="$1" '{
		left = int((width - length($0)) / 2)
		printf "%" left "s%s%" width - length($0) - left "s\n", "", $0, ""
	}'
}
