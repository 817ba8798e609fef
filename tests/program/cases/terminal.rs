//! The view of a run in a real terminal, by tmux and by `script` of util-linux.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::whole_runs::{PROGRAM, TINY, TestFolder};

/// A terminal of its own, which ends with the value.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// `None`, and said, where there is no tmux.
    fn open(name: &str, columns: u32, command: &str) -> Option<Terminal> {
        let terminal = Terminal { socket: format!("vgan-cuda-test-{name}-{}", std::process::id()) };
        let size = ["-x".to_string(), columns.to_string(), "-y".into(), "12".into()];
        let mut start = terminal.tmux();
        start.args(["-f", "/dev/null", "new-session", "-d", "-s", "main"]).args(size).arg(command);
        match start.status() {
            Ok(status) => assert!(status.success(), "tmux starts"),
            Err(error) => {
                eprintln!("SKIPPED: no program `tmux` here ({error})");
                return None;
            }
        }
        Some(terminal)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn does(&self, words: &[&str]) {
        assert!(self.tmux().args(words).status().expect("tmux").success(), "{words:?}");
    }

    /// All lines, those that have scrolled away too, without spaces at their ends.
    fn lines(&self) -> Vec<String> {
        let output = self.tmux().args(["capture-pane", "-p", "-t", "main", "-S", "-"]).output().expect("tmux");
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_string();
        text.lines().map(|line| line.trim_end().to_string()).collect()
    }

    fn wait_for(&self, what: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = self.lines();
            if what(&lines) {
                return lines;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "within a minute: {lines:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").status();
    }
}

/// A shell's line that trains the tiny model, and then waits with a prompt of its own.
fn training(place: &TestFolder, words: &str) -> String {
    let (data, outdir) = (place.path("images-idx3-ubyte"), place.path("runs"));
    let train = format!("{PROGRAM} train quick {TINY} --data {} --outdir {}", data.display(), outdir.display());
    format!("trap : INT; {train} --device cpu --threads 1 --snap 1000000 {words}; echo code $?; exec sleep 120")
}

fn is_bar(line: &str) -> bool {
    line.starts_with("[=") || line.starts_with("[>")
}

#[test]
fn case_26_every_line_stays_above_the_bar() {
    for columns in [60, 80, 120] {
        let place = TestFolder::new();
        let command = training(&place, "--steps 80 --tick 2");
        let Some(terminal) = Terminal::open(&format!("stay{columns}"), columns, &command) else { return };
        let lines = terminal.wait_for(|lines| lines.iter().any(|line| line.starts_with("code ")));
        let ticks: Vec<&String> = lines.iter().filter(|line| line.starts_with("step ")).collect();
        assert_eq!(ticks.len(), 40, "{lines:#?}");
        for (index, line) in ticks.iter().enumerate() {
            assert!(line.starts_with(&format!("step {}/80  ETA ", 2 * index + 2)), "{line}");
            assert!(line.len() < columns as usize && line.contains("  kl "), "{line}");
        }
        assert!(ticks.iter().all(|line| line.contains("  D(x) ") == (columns >= 80)), "{lines:#?}");
        // The bar is gone, and nothing of it is left.
        assert!(!lines.iter().any(|line| is_bar(line)), "{lines:#?}");
        assert!(lines.iter().any(|line| line == "code 0"), "{lines:#?}");
    }
}

#[test]
fn case_26_one_bar_whatever_the_size_and_a_clean_prompt() {
    let place = TestFolder::new();
    let command = training(&place, "--steps 1000000 --tick 200");
    let Some(terminal) = Terminal::open("size", 120, &command) else { return };
    let bars = |lines: &[String]| lines.iter().filter(|line| is_bar(line)).count();
    for columns in ["120", "60", "100", "60", "80"] {
        terminal.does(&["resize-window", "-t", "main", "-x", columns, "-y", "12"]);
        let before = terminal.lines().len();
        let lines = terminal.wait_for(|lines| lines.len() > before && lines.last().is_some_and(|line| is_bar(line)));
        assert_eq!(bars(&lines), 1, "{columns}: {lines:#?}");
        assert!(lines.last().is_some_and(|bar| bar.contains("/1000000") && bar.contains("ETA ")), "{lines:#?}");
    }
    terminal.does(&["send-keys", "-t", "main", "C-c"]);
    let lines = terminal.wait_for(|lines| lines.iter().any(|line| line.starts_with("code ")));
    assert_eq!(bars(&lines), 0, "{lines:#?}");
    assert_eq!(lines.last().map(String::as_str), Some("code 130"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("error: interrupted by SIGINT")), "{lines:#?}");
}

/// A terminal that is narrower than the words of the bar shows their beginning, in one line.
#[test]
fn case_26_a_bar_is_cut_to_a_narrow_terminal() {
    let place = TestFolder::new();
    let Some(terminal) = Terminal::open("narrow", 20, &training(&place, "--steps 6000 --tick 1000")) else { return };
    let lines = terminal.wait_for(|lines| lines.iter().any(|line| line.starts_with("code ")));
    let steps = lines.iter().filter_map(|line| line.strip_prefix("step ")?.split('/').next()?.parse::<u64>().ok());
    assert_eq!(steps.collect::<Vec<_>>(), [1000, 2000, 3000, 4000, 5000, 6000], "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("ETA") || line.contains("images/s")), "{lines:#?}");
}

/// The output of the program to a terminal of this kind.
fn sent_to_terminal(place: &TestFolder, variables: &[(&str, &str)], words: &str) -> Option<String> {
    let mut command = Command::new("script");
    command.args(["-qec", &training(place, words).replace("exec sleep 120", "true"), "/dev/null"]);
    command.stdin(Stdio::null()).env_remove("NO_COLOR").envs(variables.iter().copied());
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            eprintln!("SKIPPED: no program `script` here ({error})");
            None
        }
    }
}

#[test]
fn case_26_terminals_without_colours_or_a_cursor() {
    for (variables, has_bar) in [
        (&[("TERM", "dumb")][..], false),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], true),
        (&[("TERM", "xterm-256color")], true),
    ] {
        let place = TestFolder::new();
        let Some(sent) = sent_to_terminal(&place, variables, "--steps 10 --tick 2") else { return };
        assert!(sent.contains("code 0"), "{sent}");
        assert_eq!(sent.matches("ETA ").count() >= 10, has_bar, "{variables:?}: {sent}");
        for step in [2, 4, 6, 8, 10] {
            assert!(sent.contains(&format!("step {step}/10  ETA ")), "{variables:?}: {sent}");
        }
        // Colours end in m.
        let codes: Vec<&str> = sent.split("\x1b[").skip(1).collect();
        assert_eq!(!codes.is_empty(), has_bar, "{variables:?}: {sent:?}");
        assert!(codes.iter().all(|code| code.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['A', 'J'])));
    }
    let place = TestFolder::new();
    let Some(sent) = sent_to_terminal(&place, &[("TERM", "xterm")], "--steps 10 --tick 2 --quiet") else { return };
    assert!(!sent.contains("step ") && !sent.contains('\x1b') && sent.contains("done; "), "{sent:?}");
}
