//! Completion, asked of the shells themselves: their own functions are called with a line as a user types it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::whole_runs::{PROGRAM, program, stdout, succeed};

/// A folder with files, folders, and the script of `shell` in it.
fn place(shell: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("exp.toml"), "").expect("a file");
    std::fs::write(at("ex p.toml"), "").expect("a file");
    std::fs::create_dir(at("exruns")).expect("a folder");
    let script = stdout(&succeed(program(&format!("completions {shell}"))));
    std::fs::write(at("script"), script).expect("a script");
    folder
}

/// A command in `folder`, with the program first in the search path; nothing where the shell is not installed.
fn shell(name: &str, folder: &Path) -> Option<Command> {
    if Command::new(name).args(["-c", "exit"]).stdin(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: there is no {name}");
        return None;
    }
    let programs = Path::new(PROGRAM).parent().expect("a folder").to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path))).expect("a path");
    let mut command = Command::new(name);
    command.current_dir(folder).env("PATH", path).env("HOME", folder).stdin(Stdio::null());
    Some(command)
}

/// Lines as a user types them up to the tab, and all that may follow; of files, what begins with `ex` is there.
const LINES: &[(&str, &[&str])] = &[
    ("vgan-cuda tr", &["trace", "train"]),
    ("vgan-cuda train vgan-m", &["vgan-mnist"]),
    ("vgan-cuda train --dt", &["--dtype"]),
    ("vgan-cuda train --dtype ", &["bf16", "f32", "tf32"]),
    ("vgan-cuda train --device c", &["cpu", "cuda"]),
    ("vgan-cuda train --set bottleneck.kl_", &["bottleneck.kl_mix=", "bottleneck.kl_reduction="]),
    ("vgan-cuda train --batch 8 --see", &["--seed"]),
    ("vgan-cuda train quick --set train.see", &["train.seed="]),
    ("vgan-cuda dataset fetch ci", &["cifar10"]),
    ("vgan-cuda settings drag", &["dragan"]),
    ("vgan-cuda train --config ex", &["ex p.toml", "exp.toml", "exruns"]),
    ("vgan-cuda resume ex", &["exruns"]),
    ("vgan-cuda train --steps ex", &[]),
    ("vgan-cuda train quick ex", &[]),
];

/// Words with an `=` in them: bash has to replace the part behind it, and the other shells the whole.
const BEHIND_EQUALS: &[(&str, &str, &[&str])] = &[
    ("vgan-cuda train --set kl_mix=", "kl_mix=", &["mean", "sum"]),
    ("vgan-cuda train --set objective.loss=wg", "objective.loss=", &["wgan"]),
    ("vgan-cuda train --set=data.flip=t", "--set=data.flip=", &["true"]),
    ("vgan-cuda train --dtype=b", "--dtype=", &["bf16"]),
];

fn assert_answers(shell: &str, line: &str, mut found: Vec<String>, expected: Vec<String>) {
    let (mut sorted, slashless) = (expected, |word: &String| word.trim_end_matches('/').replace('\\', ""));
    found = found.iter().map(slashless).filter(|word| !word.is_empty()).collect();
    found.sort_unstable();
    found.dedup();
    sorted.sort_unstable();
    assert_eq!(found, sorted, "{shell}: {line}");
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn case_24_bash_completes_what_stands_behind_a_subcommand() {
    let folder = place("bash");
    let Some(mut bash) = shell("bash", folder.path()) else { return };
    // As readline does: words are cut at blanks, and at = and : as well.
    let script = r#"
        source ./script
        for line in "$@"; do
            COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=()
            for word in $line; do
                while [[ $word == *=* ]]; do
                    [[ -n ${word%%=*} ]] && COMP_WORDS+=("${word%%=*}")
                    COMP_WORDS+=("=") word=${word#*=}
                done
                [[ -n $word ]] && COMP_WORDS+=("$word")
            done
            [[ $line == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            word=${COMP_WORDS[COMP_CWORD]} COMPREPLY=()
            [[ $word == "=" ]] && word=
            _vgan_cuda vgan-cuda "$word" "" || exit 1
            printf '%s\n' "LINE" "${COMPREPLY[@]}"
        done"#;
    let expected = whole_answers();
    let lines = expected.iter().map(|(line, _)| *line);
    let output = bash.args(["--norc", "-c", script, "bash"]).args(lines.clone()).output().expect("bash");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = stdout(&output);
    let answers: Vec<&str> = text.split("LINE\n").skip(1).collect();
    let expected = LINES.iter().map(|(_, words)| *words).chain(BEHIND_EQUALS.iter().map(|(.., words)| *words));
    assert_eq!(answers.len(), LINES.len() + BEHIND_EQUALS.len(), "{text}");
    for ((line, answer), expected) in lines.zip(answers).zip(expected) {
        assert_answers("bash", line, answer.lines().map(str::to_string).collect(), words(expected));
    }
}

/// Every line, and what a shell that completes whole words answers.
fn whole_answers() -> Vec<(&'static str, Vec<String>)> {
    let whole = BEHIND_EQUALS
        .iter()
        .map(|(line, kept, words)| (*line, words.iter().map(|word| format!("{kept}{word}")).collect::<Vec<_>>()));
    LINES.iter().map(|(line, expected)| (*line, words(expected))).chain(whole).collect()
}

#[test]
fn case_24_fish_completes_what_stands_behind_a_subcommand() {
    let folder = place("fish");
    let Some(mut fish) = shell("fish", folder.path()) else { return };
    let script = "source script; for line in $argv; echo LINE; complete -C $line; end";
    let expected = whole_answers();
    let lines = expected.iter().map(|(line, _)| *line);
    let output = fish.args(["--no-config", "-c", script]).args(lines).output().expect("fish");
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let answers: Vec<&str> = text.split("LINE\n").skip(1).collect();
    assert_eq!(answers.len(), expected.len(), "{text}");
    for ((line, expected), answer) in expected.into_iter().zip(answers) {
        let first = |line: &str| line.split('\t').next().unwrap_or_default().to_string();
        assert_answers("fish", line, answer.lines().map(first).collect(), expected);
    }
}

/// zsh completes in its line editor alone, so it gets a terminal; what the function adds is read off `compadd`.
#[test]
fn case_24_zsh_completes_what_stands_behind_a_subcommand() {
    let folder = place("zsh");
    let Some(mut zsh) = shell("zsh", folder.path()) else { return };
    std::fs::write(folder.path().join("capture"), ZSH).expect("a script");
    let expected = whole_answers();
    let lines = expected.iter().map(|(line, _)| *line);
    let output = zsh.args(["-f", "capture"]).args(lines).output().expect("zsh");
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let answers: Vec<&str> = text.split("LINE\n").skip(1).collect();
    assert_eq!(answers.len(), expected.len(), "{text}");
    for ((line, expected), answer) in expected.into_iter().zip(answers) {
        assert_answers("zsh", line, answer.lines().map(str::to_string).collect(), expected);
    }
}

const ZSH: &str = r#"
zmodload zsh/zpty
zpty terminal zsh -f -i
# Nothing is typed before the next prompt is there: until then the terminal, not the editor, would act on the keys.
ask() {
    zpty -w terminal "$1"
    zpty -r terminal discarded "*$2*@@*"
}
zpty -w terminal 'PROMPT=$'\''\x40\x40'\''; bindkey "^I" complete-word; autoload -U compinit; compinit -u -D; source ./script'
# Else a tab with more keys behind it is a tab.
zpty -w terminal 'zstyle ":completion:*" insert-tab false'
zpty -w terminal 'compadd() {
    local -a hits
    case " ${@[1,(i)(-|--)]} " in *" -"[OAD]" "*) builtin compadd "$@"; return;; esac
    builtin compadd -O hits "$@"
    print -r -l -- "${hits[@]}" >> answers
    builtin compadd "$@"
}'
ask "print REA''DY" READY
for line in "$@"; do
    print LINE >> answers
    # The tab, then the line is thrown away.
    zpty -w -n terminal "$line"$'\t'
    ask $'\x15'"print EN''D" END
done
zpty -d terminal
cat answers
"#;

/// The scripts know the same as the program: nothing else has to be written down.
#[test]
fn case_24_every_command_flag_and_setting_is_completed() {
    let answer = |words: &[&str]| {
        let mut command = program("complete --");
        command.args(words);
        stdout(&succeed(command))
    };
    for key in vgan_cuda::config::known_keys() {
        assert!(answer(&["train", "--set", &key]).contains(&format!("\n{key}=\t")), "{key}");
    }
    let help = stdout(&succeed(program("train --help")));
    for flag in help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
        // `--serve[=<ADDR>]` is `--serve`.
        let flag = flag.split('[').next().unwrap_or_default();
        let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let known = help.lines().any(|line| line.trim_start().starts_with(flag) || line.contains(&format!(", {flag}")));
        assert!(!known || answer(&["train", flag]).contains(&format!("\n{flag}\t")), "{flag}");
    }
    // Lines that make no sense are no reason to fail.
    for words in [&[][..], &["--"], &["", ""], &["-", "-"], &["train", "--nonsense", "x", ""], &["train", "--set", "="]]
    {
        answer(words);
    }
}

#[test]
fn case_24_the_help_says_how_to_install() {
    let help = stdout(&succeed(program("completions bash --help")));
    for part in ["bash-completion/completions/vgan-cuda", "source <(vgan-cuda completions zsh)", "fish/completions"] {
        assert!(help.contains(part), "{help}");
    }
    for shell in ["elvish", "powershell"] {
        assert!(stdout(&succeed(program(&format!("completions {shell}")))).contains("interpolate"), "{shell}");
    }
}
