#!@tools@/sh
# fireworks: needs a program that cannot be built.
PATH=@tools@
exec @sparkle@/bin/sparkle "$@"
