# bash completion for hookctl(1). Commands and options are asked from the hookctl that is being typed,
# endpoints from hookd; where nobody answers, nothing is completed.

_hookctl_help()
{
	"$program" "$@" --help 2>/dev/null
}

# The names of commands, one a line: "list", "endpoint add".
_hookctl_commands()
{
	_hookctl_help | sed -n '/^[A-Z]/d; s/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\{0,1\}\)  .*/\1/p'
}

# The options of a command, one a line.
_hookctl_options()
{
	_hookctl_help "$@" | sed -n 's/^  \(-[a-zA-Z]\), \(--[a-z-]*\).*/\1\n\2/p; s/^  \(--*[a-zA-Z][a-z-]*\)[^,a-z-].*/\1/p; s/^  \(--[a-z-]*\)$/\1/p'
	printf '%s\n' --sockets --json --utc --help
}

# TENANT/NAME, one a line; in the default tenant /NAME.
_hookctl_full_names()
{
	"$program" ${_hookctl_sockets:+--sockets "$_hookctl_sockets"} endpoint list --json 2>/dev/null |
		sed -n 's/^{"name":"\([^"]*\)","tenant":"\([^"]*\)".*/\2\/\1/p'
}

_hookctl_endpoints()
{
	_hookctl_full_names | sed 's/^\///'
}

_hookctl_tenants()
{
	_hookctl_full_names | sed 's/\/.*//; /^$/d' | sort -u
}

_hookctl_reply()
{
	local IFS=$'\n'

	COMPREPLY=($(compgen -W "$1" -- "$current"))
}

# Some of these words, with commas: offers those that are not there yet.
_hookctl_reply_some()
{
	local before= word words=

	[[ $current == *,* ]] && before=${current%,*},
	for word; do
		[[ ,$before == *,$word,* ]] || words+=$before$word$'\n'
	done
	_hookctl_reply "$words"
}

# What may stand behind an option. False: the option takes nothing, or something of the user's own.
_hookctl_value()
{
	case $1 in
	--endpoint | -e) _hookctl_reply "$(_hookctl_endpoints)" ;;
	--state | -s)
		if [[ ${command[0]} == endpoint ]]; then
			_hookctl_reply $'active\npaused'
		else
			_hookctl_reply_some pending held delivered dead
		fi
		;;
	--tenant) _hookctl_reply "$(_hookctl_tenants)" ;;
	--health) _hookctl_reply $'ok\nfailing\nuntried' ;;
	--error) _hookctl_reply $'ok\nstatus\ndns\naddress\nconnect\ntls\ntimeout\nprotocol' ;;
	--http-status) _hookctl_reply $'4xx\n5xx\nnone' ;;
	-n) _hookctl_reply all ;;
	--sockets) COMPREPLY=($(compgen -d -- "$current")) ;;
	--secret-file) COMPREPLY=($(compgen -f -- "$current")) ;;
	--*) [[ " --type --since --until --key --at --content-type --types --header --retry --max-age \
--timeout --in-flight --rate --burst --description --allow-private --ca --url --reason --overlap --subscribe \
--status --fail-first --delay --id --timestamp --signature --tolerance " == *" $1 "* ]] ;;
	-t) ;;
	*) return 1 ;;
	esac
}

_hookctl_operand()
{
	case ${command[*]} in
	pause* | resume* | "endpoint set"* | "endpoint show"* | "endpoint remove"* | "endpoint test"* | \
		"endpoint rotate-secret"*) _hookctl_reply "$(_hookctl_endpoints)" ;;
	submit*) COMPREPLY=($(compgen -f -- "$current")) ;;
	esac
}

_hookctl()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local program=${COMP_WORDS[0]/#\~/$HOME} _hookctl_sockets= helps= word i
	local -a command=()

	COMPREPLY=()
	# bash takes --state=dead apart: three words.
	if [[ $current == = ]]; then
		current=
	elif [[ $previous == = ]]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--sockets) _hookctl_sockets=${COMP_WORDS[++i]} ;;
		=) ((i++)) ;;
		-*) ;;
		help) ((${#command[@]})) && command+=(help) || helps=yes ;;
		*) command+=("$word") ;;
		esac
	done
	if [[ $previous == -* ]] && _hookctl_value "$previous"; then
		return
	fi
	if ((${#command[@]} == 0)); then
		if [[ $current == -* ]]; then
			_hookctl_reply $'--sockets\n--json\n--utc\n--help\n--version'
		else
			_hookctl_reply "$(_hookctl_commands | cut -d ' ' -f 1 | uniq; [[ $helps ]] || echo help)"
		fi
	elif [[ ${command[0]} == endpoint && ${#command[@]} == 1 ]]; then
		_hookctl_reply "$(_hookctl_commands | sed -n 's/^endpoint //p')"
	elif [[ $helps ]]; then
		return
	elif [[ $current == -* && ${command[0]} == endpoint ]]; then
		_hookctl_reply "$(_hookctl_options endpoint "${command[1]}")"
	elif [[ $current == -* ]]; then
		_hookctl_reply "$(_hookctl_options "${command[0]}")"
	else
		_hookctl_operand
	fi
}

complete -F _hookctl hookctl
