# SPDX-License-Identifier: MIT
# Completion of cleat for bash.  The words come from cleat's own --help, so
# that this file has none to keep up to date.
_cleat() {
	local word=${COMP_WORDS[COMP_CWORD]} words

	if [ "$COMP_CWORD" = 1 ]; then
		words="--help --version $(cleat --help 2>/dev/null |
			awk '!NF { part++ } NF && part == 1 { print $1 }')"
	elif [[ $word == -* ]]; then
		words=$(cleat "${COMP_WORDS[1]}" --help 2>/dev/null |
			grep -oE '^  (-[^ ], |    )--[a-z0-9-]+' |
			grep -oE -- '-[^ ,]+')
	fi
	COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o bashdefault -o default -F _cleat cleat
