#!@tools@/sh
# factors NUMBER: its prime factors.
PATH=@tools@
. @libnumber@/lib/number.sh
[ "${1-}" != --version ] || { echo "factors @version@"; exit; }
number_check "${1-}" || exit
rest=$1 found=
while read -r prime && [ "$rest" -gt 1 ]; do
	while [ $((rest % prime)) = 0 ]; do rest=$((rest / prime)) found="$found $prime"; done
done <@primes@/share/primes
[ "$rest" = 1 ] || found="$found $rest"
echo "$1:$found"
