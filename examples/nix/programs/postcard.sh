#!@tools@/sh
# postcard NAME: greetings, on the picture that was fetched.
PATH=@tools@
[ "${1-}" != --version ] || { echo "postcard @version@"; exit; }
sed "s/NAME/${1-}/" @source@
