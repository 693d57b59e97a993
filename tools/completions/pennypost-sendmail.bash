# bash completion for pennypost-sendmail(1)
_pennypost_sendmail() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  case $before in
    -c | -C | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    -R) mapfile -t COMPREPLY < <(compgen -W 'full hdrs' -- "$word") ;;
    -N) mapfile -t COMPREPLY < <(compgen -W 'never success failure delay' -- "$word") ;;
    -B) mapfile -t COMPREPLY < <(compgen -W '7BIT 8BITMIME' -- "$word") ;;
    -f | -F | -V) ;;
    *) mapfile -t COMPREPLY < <(compgen -W '-t -f -F -i -oi -bm -bs -bp -q -qR -N -R -V -B -c --config --help --version' -- "$word") ;;
  esac
}
complete -F _pennypost_sendmail pennypost-sendmail
