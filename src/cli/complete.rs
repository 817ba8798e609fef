//! `complete`: what may stand at the cursor of a command line, for the scripts of `completions`.
//!
//! The first line of the answer says what the shell is to add of its own: `files`, `folders` or nothing, and `open` where no
//! space follows a word. Each further line is a word, and behind a tab what it means.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Args, Command, CommandFactory, ValueHint};

use super::settings::{all, methods};
use super::{Cli, output};
use crate::config::{Range, SECTIONS, Setting};
use crate::error::Result;
use crate::eval::METRICS;

/// Answer a shell's completion script; `vgan-cuda completions` prints such scripts
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct CompleteArgs {
    /// The words behind the program's name, up to the cursor; the last is the one to complete, and may be empty
    #[arg(last = true)]
    words: Vec<OsString>,
}

/// Prints the answer.
pub(super) fn run(args: CompleteArgs) -> Result<()> {
    let words: Vec<String> = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    output::print(&answer(&words).to_string())
}

/// Candidates at the cursor.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    /// Paths that may stand there: files, or only folders.
    paths: Option<Paths>,
    /// True if the word continues, so that no space follows it.
    open: bool,
    /// Words and their meanings.
    words: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Paths {
    Files,
    Folders,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = match self.paths {
            Some(Paths::Files) => "files",
            Some(Paths::Folders) => "folders",
            None => "",
        };
        writeln!(text, "{paths} {}", if self.open { "open" } else { "" })?;
        self.words.iter().try_for_each(|(word, meaning)| writeln!(text, "{word}\t{meaning}"))
    }
}

impl Answer {
    fn of_words(words: impl IntoIterator<Item = (String, String)>) -> Answer {
        Answer { words: words.into_iter().collect(), ..Answer::default() }
    }

    /// Only words that begin with what was typed.
    fn beginning_with(mut self, typed: &str) -> Answer {
        self.words.retain(|(word, _)| word.starts_with(typed));
        self
    }
}

/// Walks through the words before the cursor as clap would, and tells what may be the last one.
fn answer(words: &[String]) -> Answer {
    let mut root = Cli::command();
    root.build();
    let Some((typed, before)) = words.split_last() else { return Answer::default() };
    let mut place = Cursor { command: &root, positionals: 0, given: Vec::new(), only_positionals: false };
    let mut before = before.iter();
    while let Some(word) = before.next() {
        let wants_value = place.pass(word);
        if let Some(flag) = wants_value
            && before.next().is_none()
        {
            return values(flag, typed).beginning_with(typed);
        }
    }
    place.next(typed)
}

/// State after the words before the cursor.
struct Cursor<'a> {
    command: &'a Command,
    /// Positional arguments of the command so far.
    positionals: usize,
    /// Flags so far.
    given: Vec<&'a str>,
    /// True after `--`.
    only_positionals: bool,
}

impl<'a> Cursor<'a> {
    /// Goes past a word, and returns the flag that wants the next one as its value.
    fn pass(&mut self, word: &str) -> Option<&'a Arg> {
        if !self.only_positionals && word == "--" {
            self.only_positionals = true;
        } else if !self.only_positionals && word.starts_with('-') && word.len() > 1 {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let flag = self.flag(name)?;
            self.given.push(flag.get_id().as_str());
            return (takes_value(flag) && value.is_none()).then_some(flag);
        } else if let Some(command) = self.command.find_subcommand(word)
            && self.positionals == 0
        {
            *self = Cursor { command, positionals: 0, given: Vec::new(), only_positionals: false };
        } else {
            self.positionals += 1;
        }
        None
    }

    fn flag(&self, name: &str) -> Option<&'a Arg> {
        let short = |flag: &Arg| flag.get_short().is_some_and(|short| name == format!("-{short}"));
        let long = |flag: &Arg| flag.get_long().is_some_and(|long| name == format!("--{long}"));
        self.command.get_opts().chain(self.command.get_arguments()).find(|flag| long(flag) || short(flag))
    }

    /// Candidates for the word at the cursor.
    fn next(&self, typed: &str) -> Answer {
        if !self.only_positionals && typed.starts_with('-') {
            return match typed.split_once('=') {
                Some((name, value)) => self.flag(name).map_or_else(Answer::default, |flag| {
                    let mut answer = values(flag, value).beginning_with(value);
                    answer.words.iter_mut().for_each(|(word, _)| *word = format!("{name}={word}"));
                    answer
                }),
                None => self.flags().beginning_with(typed),
            };
        }
        let positional = self.positional().map_or_else(Answer::default, |argument| values(argument, typed));
        if self.positionals > 0 || self.only_positionals {
            return positional.beginning_with(typed);
        }
        let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
        let commands = commands.map(|command| (command.get_name().to_string(), one_line(command.get_about())));
        let words = commands.chain(positional.words).collect();
        Answer { words, ..positional }.beginning_with(typed)
    }

    /// The positional argument that is next; the last one takes all that follow where it takes several.
    fn positional(&self) -> Option<&'a Arg> {
        let mut all = self.command.get_positionals();
        let many = |argument: &Arg| matches!(argument.get_action(), ArgAction::Append);
        let last = self.command.get_positionals().last().filter(|last| many(last));
        all.nth(self.positionals).or(last)
    }

    /// The long flags that may still be given.
    fn flags(&self) -> Answer {
        let again = |flag: &&Arg| {
            !self.given.contains(&flag.get_id().as_str())
                || matches!(flag.get_action(), ArgAction::Append | ArgAction::Count)
        };
        let flags = self.command.get_arguments().filter(|flag| !flag.is_hide_set()).filter(again);
        Answer::of_words(flags.filter_map(|flag| Some((format!("--{}", flag.get_long()?), one_line(flag.get_help())))))
    }
}

fn takes_value(flag: &Arg) -> bool {
    // The value of `--serve=ADDR` is never a word of its own.
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

/// Candidates for an argument: those known for its name, or those of its parser.
fn values(argument: &Arg, typed: &str) -> Answer {
    match argument.get_id().as_str() {
        "set" => setting(typed),
        "device" => device(),
        "devices" => {
            Answer::of_words([word("all", "every GPU of this machine"), word("0-1", "GPUs 0 and 1; 0,2 are 0 and 2")])
        }
        "data" => Answer { paths: Some(Paths::Files), ..Answer::of_words([word("glyphs", "the embedded digits")]) },
        "init" => {
            Answer { paths: Some(Paths::Files), ..Answer::of_words([word("latest", "the run that was trained last")]) }
        }
        "init_parts" => {
            Answer::of_words(["generator", "discriminator", "generator=average"].map(|part| word(part, "")))
        }
        "metrics" => metrics(typed),
        "name" if argument.get_possible_values().is_empty() => names(),
        _ => {
            let possible = argument.get_possible_values();
            let possible = possible.iter().filter(|value| !value.is_hide_set());
            let words = possible.map(|value| (value.get_name().to_string(), one_line(value.get_help())));
            let latest = is_called(argument, "latest").then(|| word("latest", "the run that was trained last"));
            Answer { paths: paths(argument), ..Answer::of_words(words.chain(latest)) }
        }
    }
}

/// The kind of path that an argument takes, if it is a path: the help calls a run's folder RUN, other folders DIR, and any path PATH.
fn paths(argument: &Arg) -> Option<Paths> {
    let is_path = matches!(argument.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath);
    let folder = is_called(argument, "RUN") || is_called(argument, "DIR");
    (is_path || is_called(argument, "PATH")).then_some(if folder { Paths::Folders } else { Paths::Files })
}

/// Returns true if the help gives the argument's value this name.
fn is_called(argument: &Arg, word: &str) -> bool {
    argument.get_value_names().is_some_and(|names| names.iter().any(|name| name.contains(word)))
}

/// The metrics that are not in the list yet, behind what is.
fn metrics(typed: &str) -> Answer {
    let before = typed.rfind(',').map_or("", |comma| &typed[..=comma]);
    let left = METRICS.iter().filter(|metric| !before.split(',').any(|given| given == metric.name));
    Answer::of_words(left.map(|metric| (format!("{before}{}", metric.name), metric.meaning.to_string())))
}

fn device() -> Answer {
    Answer::of_words([
        word("auto", "the best there is"),
        word("cpu", "the processor"),
        word("cuda", "the first GPU; cuda:N is another one"),
    ])
}

/// `section.key=`, then the words that this setting takes.
fn setting(typed: &str) -> Answer {
    let Some((key, _)) = typed.split_once('=') else {
        let named = |name: fn(&Setting) -> &'static str| {
            let keys = all().map(move |setting| (format!("{}=", name(setting)), summary(setting.meaning)));
            Answer { open: true, ..Answer::of_words(keys) }
        };
        let dotted = named(|setting| setting.key);
        return if dotted.words.iter().any(|(key, _)| key.starts_with(typed)) { dotted } else { named(Setting::name) };
    };
    let Some(setting) = all().find(|setting| setting.key == key || setting.name() == key) else {
        return Answer::default();
    };
    let words: Vec<(String, String)> = match (setting.range, setting.kind()) {
        (Range::Few(numbers), _) => numbers.iter().map(|(number, meaning)| word(number, meaning)).collect(),
        (_, "true or false") => ["true", "false"].map(|truth| word(truth, "")).into(),
        // `#rrggbb` stands for many words.
        _ => setting
            .choices
            .iter()
            .filter(|choice| !choice.word.starts_with('#'))
            .map(|choice| word(choice.word, &summary(choice.meaning)))
            .collect(),
    };
    let paths = matches!(setting.key, "data.source" | "train.init").then_some(Paths::Files);
    Answer { paths, ..Answer::of_words(words.into_iter().map(|(word, meaning)| (format!("{key}={word}"), meaning))) }
}

/// Names that `settings` takes: keys, sections, and methods, which are written without spaces.
fn names() -> Answer {
    let keys = all().map(|setting| word(setting.key, &summary(setting.meaning)));
    let sections = SECTIONS.iter().map(|section| word(section.name, &summary(section.meaning)));
    let methods = methods().into_iter().map(|method| word(method.to_lowercase().replace(' ', "-"), "a method"));
    Answer::of_words(sections.chain(keys).chain(methods))
}

fn word(word: impl ToString, meaning: &str) -> (String, String) {
    (word.to_string(), meaning.to_string())
}

/// The first line of a help text.
fn one_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_string()
}

/// The first sentence of a meaning, up to a colon, semicolon or full stop.
fn summary(meaning: &str) -> String {
    let meaning = meaning.trim();
    let end = ["; ", ": ", ". "].iter().filter_map(|end| meaning.find(end)).min().unwrap_or(meaning.len());
    let end = if meaning.starts_with("`[") { meaning.len() } else { end };
    meaning[..end].trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the answer to a line; the last word is what stands behind the last space.
    fn words(line: &str) -> Vec<String> {
        answer_to(line).words.into_iter().map(|(word, _)| word).collect()
    }

    fn answer_to(line: &str) -> Answer {
        answer(&line.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn commands_flags_and_values() {
        assert_eq!(words("tr"), ["train", "trace"]);
        assert_eq!(words("train vgan-m"), ["vgan-mnist"]);
        assert_eq!(words("train --dt"), ["--dtype"]);
        assert_eq!(words("train --dtype "), ["f32", "tf32", "bf16"]);
        assert_eq!(words("train --dtype=b"), ["--dtype=bf16"]);
        assert_eq!(words("train --metrics fcd,k"), ["fcd,kid"]);
        assert_eq!(words("eval r --metrics=p"), ["--metrics=pr"]);
        assert_eq!(words("train --device c"), ["cpu", "cuda"]);
        assert_eq!(words("train --devices "), ["all", "0-1"]);
        assert_eq!(words("resume r --rest"), ["--restart"]);
        assert_eq!(words("train quick "), [""; 0]);
        assert_eq!(words("train --batch "), [""; 0]);
        assert_eq!(words("train --batch 8 qu"), ["quick"]);
        assert_eq!(words("train --serve qu"), ["quick"], "its address is never a word of its own");
        assert_eq!(words("dataset fetch "), crate::data::DATASETS.iter().map(|set| set.name).collect::<Vec<_>>());
        assert_eq!(words("dataset f"), ["fetch"]);
        assert_eq!(words("completions z"), ["zsh"]);
        assert_eq!(words("help settin"), ["settings"]);
        assert_eq!(words("nonsense "), [""; 0]);
        assert!(words("").contains(&"settings".to_string()) && !words("").contains(&"complete".to_string()));
        // A flag that is given once is not offered again; `--set` is.
        assert!(!words("train --batch 3 --").contains(&"--batch".into()));
        assert!(words("train --set seed=1 --").contains(&"--set".into()));
    }

    #[test]
    fn settings_and_their_words() {
        assert_eq!(words("train --set bottleneck.kl_m"), ["bottleneck.kl_mix="]);
        assert!(answer_to("train --set bottleneck.kl_m").open);
        assert_eq!(words("train --set kl_m"), ["kl_mix="]);
        assert_eq!(words("train --set kl_mix="), ["kl_mix=sum", "kl_mix=mean"]);
        assert_eq!(words("train --set=objective.loss=w"), ["--set=objective.loss=wgan"]);
        assert_eq!(words("resume r --set data.flip="), words("train --set data.flip="));
        assert_eq!(words("train --set data.flip="), ["data.flip=true", "data.flip=false"]);
        assert_eq!(words("train --set data.channels=3"), ["data.channels=3"]);
        assert_eq!(words("train --set optimizer.beta1="), [""; 0]);
        assert_eq!(words("experiment f.toml --set train.see"), ["train.seed="]);
        assert_eq!(words("settings drag"), ["dragan"]);
        assert_eq!(words("settings penalty"), [""; 0]);
        assert_eq!(words("settings data.r"), ["data.resize", "data.range"]);
    }

    #[test]
    fn paths_where_a_path_is_wanted() {
        for (line, paths) in [
            ("train --data ", Some(Paths::Files)),
            ("train --data=", Some(Paths::Files)),
            ("train --config ", Some(Paths::Files)),
            ("train --outdir ", Some(Paths::Folders)),
            ("train --set data.source=", Some(Paths::Files)),
            ("train --init ", Some(Paths::Files)),
            ("train --set train.init=", Some(Paths::Files)),
            ("generate r --latents ", Some(Paths::Files)),
            ("import ", Some(Paths::Files)),
            ("export ", Some(Paths::Folders)),
            ("resume ", Some(Paths::Folders)),
            ("resume --steps 3 ", Some(Paths::Folders)),
            ("resume r ", None),
            ("generate r --output ", Some(Paths::Files)),
            ("compare a b ", Some(Paths::Folders)),
            ("experiment ", Some(Paths::Files)),
            ("dataset check ", Some(Paths::Files)),
            ("report a ", Some(Paths::Folders)),
            ("report a --tensorboard ", Some(Paths::Folders)),
            ("animate r --output ", Some(Paths::Files)),
            ("train --steps ", None),
            ("train ", None),
        ] {
            assert_eq!(answer_to(line).paths, paths, "{line}");
        }
        assert_eq!(words("train --data gl"), ["glyphs"]);
        assert_eq!(words("resume la"), ["latest"]);
        assert_eq!(words("report la"), ["latest"]);
        assert_eq!(words("animate la"), ["latest"]);
        assert_eq!(words("train --init l"), ["latest"]);
        assert_eq!(words("train --init r --init-parts generator="), ["generator=average"]);
        assert_eq!(words("export r --format o"), ["onnx"]);
    }

    /// The names that `values` knows are those of arguments.
    #[test]
    fn the_arguments_that_are_known_exist() {
        let mut root = Cli::command();
        root.build();
        let has =
            |id: &str| root.get_subcommands().any(|command| command.get_arguments().any(|one| one.get_id() == id));
        assert!(["set", "device", "devices", "data", "init", "init_parts", "metrics", "name"].into_iter().all(has));
    }
}
