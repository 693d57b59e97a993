# Completion of pennypost's commands and options for bash. Names of domains, mailboxes and aliases come from the store,
# when it can be read.

_pennypost_commands() {
  case "$1" in
    '') echo 'domain mailbox alias message queue badmail route store config guard server status reload' ;;
    domain) echo 'add set remove list show lock unlock' ;;
    mailbox) echo 'add set remove restore rename list stat show passwd lock unlock' ;;
    alias) echo 'add set remove list show' ;;
    message) echo 'list show delete' ;;
    queue) echo 'list why show export stat hold release retry delete bounce reroute flush suspend resume etrn' ;;
    badmail) echo 'list show retry export purge add' ;;
    route) echo 'test' ;;
    store) echo 'init check rebuild compact stat' ;;
    config) echo 'check show' ;;
    guard) echo 'clear' ;;
    server) echo 'check' ;;
  esac
}

_pennypost_options() {
  local everywhere='--config --json --version --help'
  local remote='--allow-relay --no-allow-relay --route --esmtp --no-esmtp --security --username --password-file --rate --connections'
  local badmail='--cause --server --sender --recipient --older'
  local filters='--domain --state --sender --recipient --older --newer --error'
  case "$1" in
    'domain add') echo "--alias-of --remote --drop --if-not-exists --catch-all --quota --plus-addressing --journal $remote --hold --no-hold --dequeue-account --no-dequeue-account --fetch-from --fetch --every $everywhere" ;;
    'domain set') echo "--catch-all --quota --plus-addressing --journal $remote --hold --no-hold --dequeue-account --no-dequeue-account --fetch-from --fetch --every $everywhere" ;;
    'mailbox list') echo "--removed $everywhere" ;;
    'domain remove' | 'mailbox remove') echo "--purge --if-exists $everywhere" ;;
    'mailbox add') echo "--password-stdin --no-password --hash --quota --max-messages --if-not-exists $everywhere" ;;
    'mailbox set') echo "--quota --max-messages --send-as --no-send-as --forward --keep-copy --no-keep-copy --no-forward --auto-reply-file --auto-reply-subject --auto-reply-from --auto-reply-until --no-auto-reply --apop-secret-stdin --no-apop-secret $everywhere" ;;
    'mailbox passwd') echo "--password-stdin $everywhere" ;;
    'alias add') echo "--owner --replace --if-not-exists $everywhere" ;;
    'alias set') echo "--owner --no-owner $everywhere" ;;
    'alias remove' | 'message delete') echo "--if-exists $everywhere" ;;
    'message show') echo "--raw $everywhere" ;;
    'queue list') echo "$filters $everywhere" ;;
    'queue export') echo "--output $everywhere" ;;
    'queue hold' | 'queue bounce') echo "$filters --all --dry-run --reason $everywhere" ;;
    'queue release' | 'queue retry' | 'queue delete') echo "$filters --all --dry-run $everywhere" ;;
    'queue reroute') echo "$filters --all --dry-run --to $everywhere" ;;
    'queue etrn') echo "--security --username --password-file $everywhere" ;;
    'queue suspend') echo "--all --reason $everywhere" ;;
    'queue resume') echo "--all $everywhere" ;;
    'badmail list') echo "$badmail $everywhere" ;;
    'badmail retry' | 'badmail purge') echo "$badmail --all --dry-run $everywhere" ;;
    'badmail export') echo "$badmail --all --dry-run --output $everywhere" ;;
    'badmail add') echo "--reason $everywhere" ;;
    'route test') echo "--server --sender --no-dns $everywhere" ;;
    'store init') echo "--if-not-exists $everywhere" ;;
    'store check') echo "--repair $everywhere" ;;
    'store compact') echo "--all $everywhere" ;;
    'config show') echo "--defaults $everywhere" ;;
    *) echo "$everywhere" ;;
  esac
}

# The first column of a list, without its title.
_pennypost_names() {
  pennypost "${_pennypost_config[@]}" "$@" 2>/dev/null </dev/null | sed -e 1d -e 's/ .*//' -e 1001q
}

# The virtual servers, by their files.
_pennypost_servers() {
  pennypost "${_pennypost_config[@]}" config show 2>/dev/null </dev/null | sed -n 's|^# .*/servers/\(.*\)\.toml$|\1|p'
}

_pennypost() {
  # Words are divided by blanks alone: bash would divide addresses at '@' too.
  local -a typed
  read -ra typed <<<"${COMP_LINE:0:COMP_POINT}"
  [[ ${COMP_LINE:COMP_POINT-1:1} == ' ' ]] && typed+=('')
  local last=$((${#typed[@]} - 1))
  local current=${typed[last]} previous=${typed[last - 1]}
  local group='' command='' first='' i words=''
  local -a _pennypost_config=()
  COMPREPLY=()
  for ((i = 1; i < last; i++)); do
    case "${typed[i]}" in
      -c | --config)
        _pennypost_config=(-c "${typed[i + 1]}")
        ((i++))
        ;;
      --alias-of | --hash | --quota | --max-messages | --domain | --state | --sender | --recipient | --older | --newer | --error | --reason | --to | --output | --server | \
        --route | --security | --username | --password-file | --rate | --connections | --cause)
        ((i++))
        ;;
      -*) ;;
      *)
        if [[ -z $group ]]; then
          group=${typed[i]}
        elif [[ -z $command ]]; then
          command=${typed[i]}
        elif [[ -z $first ]]; then
          first=${typed[i]}
        fi
        ;;
    esac
  done

  case "$previous" in
    -c | --config)
      COMPREPLY=($(compgen -f -- "$current"))
      return
      ;;
    --alias-of)
      COMPREPLY=($(compgen -W "$(_pennypost_names domain list)" -- "$current"))
      return
      ;;
    --state)
      COMPREPLY=($(compgen -W 'waiting active held done failed' -- "$current"))
      return
      ;;
    --security)
      COMPREPLY=($(compgen -W 'none opportunistic tls verify' -- "$current"))
      return
      ;;
    --cause)
      COMPREPLY=($(compgen -W 'bad-pickup-file general-failure hop-count ndr-of-dsn no-recipients by-event' -- "$current"))
      return
      ;;
    --server)
      COMPREPLY=($(compgen -W "$(_pennypost_servers)" -- "$current"))
      return
      ;;
    --output | --password-file)
      COMPREPLY=($(compgen -f -- "$current"))
      return
      ;;
    --hash | --quota | --max-messages | --domain | --sender | --recipient | --older | --newer | --error | --reason | --to | --route | --username | --rate | --connections) return ;;
  esac

  if [[ $current == -* ]]; then
    words=$(_pennypost_options "${group:+$group }$command")
  elif [[ -z $group ]]; then
    words=$(_pennypost_commands '')
  elif [[ -z $command ]]; then
    words=$(_pennypost_commands "$group")
  else
    case "$group $command" in
      'domain set' | 'domain remove' | 'domain show' | 'domain lock' | 'domain unlock' | 'mailbox list' | 'mailbox stat' | 'alias list')
        [[ -z $first ]] && words=$(_pennypost_names domain list)
        ;;
      'mailbox set' | 'mailbox remove' | 'mailbox rename' | 'mailbox show' | 'mailbox passwd' | 'mailbox lock' | 'mailbox unlock' | 'message list')
        [[ -z $first ]] && words=$(_pennypost_names mailbox list)
        ;;
      'route test') [[ -z $first ]] && words="$(_pennypost_names mailbox list) $(_pennypost_names alias list)" ;;
      'alias set' | 'alias remove' | 'alias show') [[ -z $first ]] && words=$(_pennypost_names alias list) ;;
      'alias add') [[ -n $first ]] && words=$(_pennypost_names mailbox list) ;;
      'queue why' | 'queue show' | 'queue export' | 'queue hold' | 'queue release' | 'queue retry' | 'queue delete' | 'queue bounce' | 'queue reroute')
        words=$(_pennypost_names queue list)
        ;;
      'badmail show' | 'badmail retry' | 'badmail export' | 'badmail purge') words=$(_pennypost_names badmail list) ;;
      'badmail add') words=$(_pennypost_names queue list) ;;
      'message show' | 'message delete')
        if [[ -z $first ]]; then
          words=$(_pennypost_names mailbox list)
        else
          words=$(_pennypost_names message list "$first")
        fi
        ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  # Bash puts what we answer behind its own last division.
  if [[ $current == *@* && $COMP_WORDBREAKS == *@* ]]; then
    local front=${current%"${current##*@}"}
    COMPREPLY=("${COMPREPLY[@]#"$front"}")
  fi
}

complete -F _pennypost pennypost
