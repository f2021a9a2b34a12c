//! What goes to stderr, and the exit code: errors with causes and hint, warnings, skipped parts.
#![expect(clippy::print_stderr, reason = "this is the one place that writes to stderr")]

mod looked;

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ct_core::log::parser::{Run, Skipped};

use self::looked::Looked;
use crate::load::logs::{LogFile, LogSet};
use ct_core::text::printable;

/// Parts of one file that are named one by one; the rest is counted.
const NAMED_PER_FILE: usize = 5;

const FAILURE: u8 = 2;

/// How a command went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many logs or records matched.
    pub(crate) matched: usize,
    /// What could not be read and was not told yet.
    pub(crate) skipped: Vec<SkippedPart>,
    warnings: Vec<String>,
    n_told: usize,
    failures: Vec<String>,
    /// The paths it was given, where there are any.
    looked: Option<Looked>,
    /// The exit code, where the command itself has told all.
    verdict: Option<u8>,
}

/// A part of a file that could not be read.
#[derive(Debug)]
pub(crate) struct SkippedPart {
    /// The file.
    pub(crate) path: PathBuf,
    /// Line, from 1; `None` where it is the whole file.
    pub(crate) line: Option<usize>,
    /// Why.
    pub(crate) reason: String,
}

impl Outcome {
    /// Of a command that has told all there is to tell.
    pub(crate) fn ended(code: u8) -> Self {
        Self { verdict: Some(code), ..Self::default() }
    }

    /// Notes a part of a file that could not be read.
    pub(crate) fn skip(&mut self, path: &Path, skipped: &Skipped) {
        self.skip_part(path, Some(skipped.line), skipped.reason.to_string());
    }

    /// Notes a file that could not be read at all.
    pub(crate) fn skip_file(&mut self, path: &Path, reason: &io::Error) {
        self.skip_part(path, None, format!("cannot read: {reason}"));
    }

    /// Notes a path that could not be looked at, without the hint an error has.
    pub(crate) fn skip_path(&mut self, path: &Path, error: &anyhow::Error) {
        let hints = usize::from(error.is::<Hint>());
        let causes: Vec<_> = error.chain().skip(hints).map(ToString::to_string).collect();
        self.skip_part(path, None, causes.join(": "));
    }

    /// Notes a part of a file, or with no line a whole one, that could not be read.
    pub(crate) fn skip_part(&mut self, path: &Path, line: Option<usize>, reason: String) {
        self.skipped.push(SkippedPart { path: path.to_owned(), line, reason });
    }

    /// Notes that something was found wrong, though all could be done.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failures.push(reason);
    }

    /// Notes how many runs there are in the paths that were given.
    pub(crate) fn look(
        &mut self,
        paths: impl ExactSizeIterator<Item = PathBuf>,
        is_recursive: bool,
        n_runs: usize,
    ) {
        if paths.len() > 0 {
            self.looked = Some(Looked::new(paths, is_recursive, n_runs));
        }
    }

    /// Notes how many of these runs have a record.
    pub(crate) fn count_records(&mut self, n: usize) {
        if let Some(looked) = &mut self.looked {
            looked.count_records(n);
        }
    }

    /// Adds what was noted elsewhere, and says its warnings.
    pub(crate) fn append(&mut self, other: Self) {
        self.matched += other.matched;
        self.skipped.extend(other.skipped);
        self.n_told += other.n_told;
        self.failures.extend(other.failures);
        other.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    }

    /// Says what was skipped so far, and forgets it: of many files not all fits into memory.
    pub(crate) fn tell(&mut self) {
        for parts in self.skipped.chunk_by(|a, b| a.path == b.path) {
            let path = parts[0].path.display().to_string();
            for part in parts.iter().take(NAMED_PER_FILE) {
                let line = part.line.map(|line| format!(":{line}")).unwrap_or_default();
                say(&format!("{path}{line}: skipped: {}", part.reason));
            }
            if parts.len() > NAMED_PER_FILE {
                say(&format!("{path}: skipped: {} more", parts.len() - NAMED_PER_FILE));
            }
        }
        self.n_told += std::mem::take(&mut self.skipped).len();
    }

    /// Says what was skipped and ends.
    pub(crate) fn exit_code(mut self) -> ExitCode {
        if let Some(code) = self.verdict {
            return ExitCode::from(code);
        }
        self.tell();
        if self.n_told > 0 {
            note(&format!("{} part(s) could not be read and are not counted", self.n_told));
        }
        if !self.failures.is_empty() {
            self.failures.iter().for_each(|failure| say(&format!("error: {failure}")));
            return ExitCode::from(FAILURE);
        }
        if self.n_told > 0 {
            return ExitCode::from(3);
        }
        if self.matched == 0 {
            note(&self.looked.map_or_else(|| "nothing matched".to_owned(), |looked| looked.why()));
            return ExitCode::from(1);
        }
        ExitCode::SUCCESS
    }
}

/// An error that says how to mend it.
#[derive(Debug)]
pub(crate) struct Hint(pub(crate) &'static str);

impl std::fmt::Display for Hint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Reports a failure: error, causes, hint. A closed pipe is none.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let is_broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.map(io::Error::kind).or(json) == Some(ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    // A hint is the outermost layer, if there is one.
    let hint = error.downcast_ref::<Hint>();
    let mut causes = error.chain().skip(usize::from(hint.is_some()));
    if let Some(first) = causes.next() {
        say(&format!("error: {first}"));
    }
    for cause in causes {
        say(&format!("caused by: {cause}"));
    }
    if let Some(hint) = hint {
        say(&format!("hint: {hint}"));
    }
    ExitCode::from(FAILURE)
}

/// Reports what clap has to say: help and version on stdout, a wrong command line on stderr.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    // An argument may have come out of a list of somebody else's.
    if text.lines().all(|line| matches!(printable(line), Cow::Borrowed(_))) {
        // Nothing can be done where not even this can be written.
        let _ = error.print();
    } else {
        for line in text.lines() {
            eprintln!("{}", printable(line));
        }
    }
    if error.use_stderr() { ExitCode::from(FAILURE) } else { ExitCode::SUCCESS }
}

impl Outcome {
    /// Warns of a pair of logs of which one is missing or empty.
    pub(crate) fn warn_orphan(&mut self, set: LogSet<'_>, run: &Run<'_>) {
        if let Some(warning) = orphan(set, run) {
            self.warnings.push(warning);
        }
    }
}

fn orphan(set: LogSet<'_>, run: &Run<'_>) -> Option<String> {
    let (has_standard, has_output) =
        (!run.standard.sessions.is_empty(), !run.output.blocks.is_empty());
    let warning = match (set.has(LogFile::Standard), set.has(LogFile::Output)) {
        (false, true) if has_output => "no standard log: epochs and devices are unknown",
        (true, false) if has_standard => "no output log: unfinished, no consumption is counted",
        (true, true) if has_standard && !has_output => {
            "no consumption in the output log: unfinished, nothing is counted"
        }
        _ => return None,
    };
    Some(format!("{}: {warning}", set.dir.join(&*set.stem()).display()))
}

/// Says something worth knowing that is no error.
pub(crate) fn note(text: &str) {
    say(&format!("note: {text}"));
}

fn say(text: &str) {
    eprintln!("{}", printable(text));
}
