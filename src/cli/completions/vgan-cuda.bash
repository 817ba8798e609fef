# Completion of vgan-cuda in bash: asks the program what may stand at the cursor.

_vgan_cuda() {
    # bash cuts words at = and : as well. They are put together again, by the blanks between them.
    local rest=$COMP_LINE words=() count=0 i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if [[ $i -eq 0 || $rest == [[:blank:]]* ]]; then
            words[count]=${COMP_WORDS[i]}
            count=$((count + 1))
        else
            words[count - 1]+=${COMP_WORDS[i]}
        fi
        rest=${rest#"${rest%%[![:blank:]]*}"}
        rest=${rest#"${COMP_WORDS[i]}"}
    done
    local typed=${words[count - 1]} program=${1/#\~/$HOME} directive line
    # What is complete up to the last = or : stays on the line, and is cut off the answers.
    local kept=
    [[ $typed == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]] && kept=${typed%"${typed##*[=:]}"}

    COMPREPLY=()
    {
        read -r directive
        while IFS= read -r line; do
            line=${line%%$'\t'*}
            COMPREPLY+=("${line#"$kept"}")
        done
    } < <("$program" complete -- "${words[@]:1}" 2>/dev/null)

    case $directive in
    *open*) compopt -o nospace 2>/dev/null ;;
    esac
    # Where words and paths are possible, both are offered; paths alone are left to readline, which knows how to quote them.
    typed=${typed#"$kept"}
    local option
    case $directive in
    files*) option=default i=-f ;;
    folders*) option=dirnames i=-d ;;
    *) return ;;
    esac
    if [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o "$option" 2>/dev/null; then
        return
    fi
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(compgen "$i" -- "$typed")
}

complete -F _vgan_cuda vgan-cuda
