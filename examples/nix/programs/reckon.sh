#!@tools@/sh
# reckon EXPRESSION...: prints the value of each expression.
PATH=@tools@
. @libexpr@/lib/expr.sh
[ "${1-}" != --version ] || { echo "reckon @version@"; exit; }
for expression in "$@"; do
	value=$(expr_value "$expression") || exit
	echo "$expression = $value"
done
