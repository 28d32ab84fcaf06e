# What nix-eval-jobs prints, made with nix-instantiate: a line of JSON for each derivation of an expression.
left=$#
while [ "$left" -gt 0 ]; do
	taken=2
	case $1 in
	--expr) expression=$2 ;;
	--flake) flake=$2 ;;
	--select) expression="($2) (builtins.getFlake \"$flake\")" ;;
	--workers) ;;
	-I) set -- "$@" "$1" "$2" ;;
	--option) set -- "$@" "$1" "$2" "$3" && taken=3 ;;
	--argstr) taken=3 ;;
	*) echo "unrecognised flag '$1'" >&2 && exit 1 ;;
	esac
	shift $taken
	left=$((left - taken))
done
names=$(nix-instantiate --eval --strict --json "$@" --expr "builtins.attrNames ($expression)") || exit
for name in $(printf %s "$names" | tr -d '[]"' | tr , ' '); do
	if derivations=$(nix-instantiate "$@" --expr "$expression" -A "$name" 2>/tmp/error); then
		for derivation in $derivations; do
			case $derivation in *!*) output=${derivation#*!} ;; *) output=out ;; esac
			printf '{"attr":"%s.%s","attrPath":["%s","%s"],"drvPath":"%s"}\n' \
				"$name" "$output" "$name" "$output" "${derivation%%!*}"
		done
	else
		error=$(sed 's/\\/\\\\/g; s/"/\\"/g; s/$/\\n/' /tmp/error | tr -d '\000-\037')
		printf '{"attr":"%s","attrPath":["%s"],"error":"%s"}\n' "$name" "$name" "$error"
	fi
done
