# Completion of vgan-cuda in fish: asks the program what may stand at the cursor.

function __vgan_cuda_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -l lines ($program complete -- $words[2..-1] $typed 2>/dev/null)
    set -l directive $lines[1]
    printf '%s\n' $lines[2..-1]
    # Behind `--flag=` or `key=`, a path begins there.
    set -l kept (string match -r '^.*=' -- $typed)
    set -l path (string replace -r '^.*=' '' -- $typed)
    switch $directive
        case 'files*'
            string join \n -- "$kept"(complete -C "'' $path")
        case 'folders*'
            string join \n -- "$kept"(__fish_complete_directories $path '')
    end
end

complete -c vgan-cuda -f -a '(__vgan_cuda_complete)'
