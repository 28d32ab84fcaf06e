# libexpr @version@: the values of expressions.
. @libnumber@/lib/number.sh

expr_version() { echo "@version@"; }

# expr_value EXPRESSION: its value, if it has nothing but whole numbers, + - * / and parentheses.
expr_value() {
	for number in $(echo "$1" | tr -s '()*/+ -' '       '); do number_check "$number" || return; done
	echo "$(($1))"
}
