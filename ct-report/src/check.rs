//! Is a node, is a cluster set up right? Each finding says what was looked at, how it is, and in one
//! sentence how to mend it.

pub(crate) mod age;
pub(crate) mod cluster;
pub(crate) mod daemon;
pub(crate) mod elf;
pub(crate) mod intensity;
pub(crate) mod ledger;
pub(crate) mod machine;
pub(crate) mod meters;
pub(crate) mod plugin;
pub(crate) mod plugstack;
pub(crate) mod round;
pub(crate) mod slurmd;

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It is of no use on this machine.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// Right.
    Ok,
    /// It works, but something is lost, or could not be looked at.
    Warning,
    /// It does not work.
    Error,
}

impl Level {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "n/a",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) area: &'static str,
    pub(crate) level: Level,
    pub(crate) text: String,
    /// How to mend it; `None` where there is nothing to mend.
    pub(crate) mend: Option<String>,
}

/// Findings of one area.
pub(crate) struct Area<'a> {
    name: &'static str,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Area<'a> {
    pub(crate) fn new(name: &'static str, findings: &'a mut Vec<Finding>) -> Self {
        Self { name, findings }
    }

    pub(crate) fn ok(&mut self, text: impl Into<String>) {
        self.push(Level::Ok, text.into(), None);
    }

    /// What is not looked at, and why that is right.
    pub(crate) fn pass(&mut self, text: impl Into<String>) {
        self.push(Level::NotApplicable, text.into(), None);
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.push(Level::Warning, text.into(), Some(mend.into()));
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>, mend: impl Into<String>) {
        self.push(Level::Error, text.into(), Some(mend.into()));
    }

    fn push(&mut self, level: Level, text: String, mend: Option<String>) {
        self.findings.push(Finding { area: self.name, level, text, mend });
    }
}
