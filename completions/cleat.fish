# SPDX-License-Identifier: MIT
# Completion of cleat for fish.  The words come from cleat's own --help, so
# that this file has none to keep up to date.
function __cleat_commands
	cleat --help 2>/dev/null |
		awk '!NF { part++ } NF && part == 1 { print $1 }'
end

function __cleat_options
	cleat (commandline -opc)[2] --help 2>/dev/null |
		grep -oE '^  (-[^ ], |    )--[a-z0-9-]+' | grep -oE -- '-[^ ,]+'
end

complete -c cleat -n __fish_use_subcommand -f -a '(__cleat_commands)'
complete -c cleat -n __fish_use_subcommand -f -a '--help --version'
complete -c cleat -n 'not __fish_use_subcommand' -a '(__cleat_options)'
