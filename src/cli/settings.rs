//! `settings`: what there is to set, as it is declared in `config/settings.rs` and `config/objective.rs`.

use clap::Args;
use serde::Serialize;

use super::output;
use crate::config::{
    Choice, PRESETS, Range, SECTIONS, Section, Setting, SettingValue, Settings, nearest, nearest_hint, preset,
};
use crate::error::{Error, Result};

/// The two sources that the meanings speak of.
const SOURCES: &str = "\"The paper\" is Peng, Kanazawa, Toyer, Abbeel & Levine, Variational Discriminator Bottleneck, ICLR 2019 \
                       (https://arxiv.org/abs/1810.00821); \"the official code\" is https://github.com/akanazawa/vgan. \"The article\" \
                       is the VGAN tutorial of the notebook vgan-mnist.ipynb of https://github.com/naruya/vgan-pytorch.";

/// Explain every setting: meaning, default, range, and the methods it belongs to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda settings | less
  vgan-cuda settings penalty_weight
  vgan-cuda settings optimizer
  vgan-cuda settings dragan
  vgan-cuda settings --json

Change a setting with --set KEY=VALUE, or in a file for --config.")]
pub(super) struct ListSettingsArgs {
    /// Setting (with or without its section), section, or method such as dragan [default: all]
    name: Option<String>,

    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// The options of `settings`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListSettingsOptions {
    /// A setting, a section or a method; `None` for all.
    pub(crate) name: Option<String>,
    /// JSON lines instead of text.
    pub(crate) json: bool,
}

impl ListSettingsArgs {
    pub(super) fn resolve(self) -> ListSettingsOptions {
        ListSettingsOptions { name: self.name, json: self.json }
    }
}

/// Prints the settings.
pub(super) fn run(options: ListSettingsOptions) -> Result<()> {
    let chosen = chosen(options.name.as_deref())?;
    let defaults = Settings::default();
    let mut text = if options.name.is_none() && !options.json { wrapped(SOURCES, "") + "\n" } else { String::new() };
    for (section, settings) in &chosen {
        if !options.json {
            text += &format!("{}\n\n", wrapped(section.meaning, "").trim_end());
        }
        for setting in settings {
            let default = setting.value_in(&defaults)?;
            text += &if options.json { json_line(setting, &default)? } else { described(setting, &default) };
        }
    }
    if !options.json {
        let one = matches!(&chosen[..], [(_, settings)] if settings.len() == 1);
        text += &if one { of_presets(chosen[0].1[0], &defaults)? } else { closing(options.name.is_none()) };
    }
    output::print(&text)
}

/// All settings, each with its section.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

/// The names of the methods that settings belong to, each once.
pub(super) fn methods() -> Vec<&'static str> {
    let mut methods: Vec<&str> = all().flat_map(|setting| setting.methods).copied().collect();
    methods.sort_unstable_by_key(|method| method.to_lowercase());
    methods.dedup();
    methods
}

type Chosen = (&'static Section, Vec<&'static Setting>);

/// The settings that `name` means: a section's, those of that name, or those of a method or with a word of that name.
fn chosen(name: Option<&str>) -> Result<Vec<Chosen>> {
    let of = |matches: &dyn Fn(&Setting) -> bool| -> Vec<Chosen> {
        let in_section =
            |section: &'static Section| (section, section.settings.iter().filter(|one| matches(one)).collect());
        SECTIONS.iter().map(in_section).filter(|(_, settings): &Chosen| !settings.is_empty()).collect()
    };
    let Some(name) = name else { return Ok(of(&|_| true)) };
    let typed = plain(name.trim_start_matches('[').trim_end_matches(']'));
    let is = |known: &str| plain(known) == typed;
    let has = |setting: &Setting| {
        setting.methods.iter().any(|method| is(method)) || setting.choices.iter().any(|choice| is(choice.word))
    };
    let in_section = |setting: &Setting| setting.key.split('.').next().is_some_and(is);
    let found = [of(&in_section), of(&|setting| is(setting.key) || is(setting.name())), of(&has)];
    found.into_iter().find(|found| !found.is_empty()).ok_or_else(|| unknown(name))
}

/// Small letters, digits and points alone: `WGAN-GP` and `wgan_gp` are one name.
fn plain(name: &str) -> String {
    name.chars().filter(|&c| c.is_alphanumeric() || c == '.').flat_map(char::to_lowercase).collect()
}

fn unknown(name: &str) -> Error {
    let keys = all().map(|setting| if name.contains('.') { setting.key } else { setting.name() });
    let names = SECTIONS.iter().map(|section| section.name).chain(keys).chain(methods());
    let hint = nearest_hint(nearest(name, names));
    Error::Usage(format!(
        "there is no setting, section or method `{}`{hint}; `vgan-cuda settings` prints all of them",
        name.escape_debug()
    ))
}

fn described(setting: &Setting, default: &SettingValue) -> String {
    let methods = match setting.methods {
        [] => String::new(),
        methods => format!("; of {}", methods.join(", ")),
    };
    let values = match setting.range {
        Range::Any if setting.choices.is_empty() => setting.kind().to_string(),
        // A word is a default that is listed; no word at all is one where several go together.
        Range::Any if default.to_string() == "\"\"" => "any of the words below, with commas between them".to_string(),
        Range::Any => "one of the words below".to_string(),
        range @ (Range::Widths { .. } | Range::Real { high: f64::INFINITY, .. }) => range.to_string(),
        range => format!("{}, {range}", setting.kind()),
    };
    let mut text = format!("  {} = {default}\n", setting.key);
    text += &wrapped(&format!("{values}{methods}"), "      ");
    text += &wrapped(setting.meaning, "      ");
    let widest = setting.choices.iter().map(|choice| choice.word.len()).max().unwrap_or(0);
    for Choice { word, meaning } in setting.choices {
        let indented = wrapped(meaning, &" ".repeat(10 + widest));
        text += &format!("        {word:<widest$}  {}", indented.trim_start());
    }
    text + "\n"
}

/// Presets whose value differs from the default.
fn of_presets(setting: &Setting, defaults: &Settings) -> Result<String> {
    let default = setting.value_in(defaults)?;
    let mut text = String::new();
    for (name, _) in PRESETS {
        let value = setting.value_in(&preset(name)?)?;
        if value != default {
            text += &format!("      {value} in preset {name}\n");
        }
    }
    Ok(if text.is_empty() { text } else { text + "\n" } + &format!("  change it with --set {}=VALUE\n", setting.key))
}

fn closing(all: bool) -> String {
    let methods = format!("`vgan-cuda settings METHOD` lists the settings of one of: {}.", methods().join(", "));
    let defaults =
        "The defaults are those of preset vgan-mnist; `vgan-cuda train PRESET --dry-run` prints a preset's own.";
    if all { wrapped(&methods, "") + &wrapped(defaults, "") } else { wrapped(defaults, "") }
}

/// In lines of at most 100 characters, each behind `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters <= 100 {
            lines += " ";
            length += 1;
        } else {
            lines += if length > 0 { "\n" } else { "" };
            lines += indent;
            length = indent.len();
        }
        lines += word;
        length += letters;
    }
    lines + "\n"
}

fn json_line(setting: &Setting, default: &SettingValue) -> Result<String> {
    #[derive(Serialize)]
    struct Word {
        word: &'static str,
        meaning: &'static str,
    }
    #[derive(Serialize)]
    struct Line<'a> {
        key: &'static str,
        kind: &'static str,
        default: &'a SettingValue,
        range: Option<String>,
        choices: Vec<Word>,
        methods: &'static [&'static str],
        meaning: &'static str,
    }
    let word = |choice: &'static Choice| Word { word: choice.word, meaning: choice.meaning.trim() };
    let line = Line {
        key: setting.key,
        kind: setting.kind(),
        default,
        range: (setting.range != Range::Any).then(|| setting.range.to_string()),
        choices: setting.choices.iter().map(word).collect(),
        methods: setting.methods,
        meaning: setting.meaning.trim(),
    };
    output::json(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str) -> Vec<&'static str> {
        chosen(Some(name)).unwrap().iter().flat_map(|(_, settings)| settings).map(|setting| setting.key).collect()
    }

    #[test]
    fn a_name_is_that_of_a_setting_a_section_or_a_method() {
        assert_eq!(keys("penalty_weight"), ["objective.penalty_weight"]);
        assert_eq!(keys("bottleneck.beta"), ["bottleneck.beta"]);
        assert_eq!(keys("channels").len(), 4);
        let nets = ["nets.family", "nets.conditional", "nets.class_embedding", "nets.classes"];
        assert_eq!((keys("nets"), keys("[nets]")), (nets.into(), nets.into()));
        assert_eq!(
            keys("bottleneck").len(),
            SECTIONS.iter().find(|one| one.name == "bottleneck").unwrap().settings.len()
        );
        let penalty =
            ["penalty", "penalty_weight", "penalty_every", "penalty_z"].map(|name| format!("objective.{name}"));
        for name in ["dragan", "DRAGAN", "r1", "VGAN-GP"] {
            assert_eq!(keys(name), penalty, "{name}");
        }
        assert_eq!(keys("began"), ["objective.loss", "objective.balance_ratio", "objective.balance_step"]);
        assert_eq!(keys("label smoothing"), ["objective.real_target"]);
        assert_eq!(keys("0..1"), ["data.range"]);
        assert_eq!(chosen(None).unwrap().len(), SECTIONS.len());
    }

    #[test]
    fn an_unknown_name_is_told_what_is_near() {
        for (name, near) in [
            ("dragn", "; the nearest is `DRAGAN`;"),
            ("gen_lr", "; the nearest is `generator_lr`;"),
            ("momentum", "`momentum`; `vgan"),
        ] {
            let error = chosen(Some(name)).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(near), "{error}");
        }
    }

    /// Every method of docs/methods.md can be looked up.
    #[test]
    fn the_methods_are_those_of_the_documentation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/methods.md");
        let text = std::fs::read_to_string(path).unwrap().to_lowercase();
        for method in methods().into_iter().filter(|method| !["DCGAN", "residual nets", "VGAN"].contains(method)) {
            assert!(text.contains(&method.to_lowercase()), "docs/methods.md has no {method}");
        }
    }

    #[test]
    fn one_word_is_chosen_or_several_are() {
        let defaults = crate::config::preset("quick").unwrap();
        let text = |key| {
            let setting = all().find(|setting| setting.key == key).unwrap();
            described(setting, &setting.value_in(&defaults).unwrap())
        };
        assert!(text("objective.loss").contains("one of the words below"));
        assert!(text("objective.augment").contains("any of the words below, with commas between them"));
    }

    #[test]
    fn lines_are_wrapped() {
        let text = wrapped(&"word ".repeat(50), "    ");
        assert!(text.lines().all(|line| line.chars().count() <= 100 && line.starts_with("    word")), "{text}");
        assert_eq!((text.lines().count(), text.matches("word").count()), (3, 50));
    }
}
