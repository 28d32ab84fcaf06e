#!@tools@/sh
# sparkle: written against a version of libtext that never was.
PATH=@tools@
. @libtext@/lib/text.sh
text_sparkle "this function does not exist"
