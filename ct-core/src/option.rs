//! The job's option: the text after `--carbontracker=`.
//!
//! One grammar for `#SBATCH` lines, plugstack.conf and carbontracker.toml. Text comes in; a
//! [`Choice`] or an error that names key, value and what is allowed goes out. What the keys mean
//! is decided elsewhere; [`Settings`] are the values with every default filled in.

mod budget;
mod keys;
mod pattern;
mod settings;
mod simulated;
mod split;

pub use budget::{Budget, OnBudget};
pub use keys::{KEYS, KeySpec, help_text};
pub use pattern::DEFAULT_PATTERN;
pub use settings::{Components, EpochBy, Settings};
pub use simulated::Simulated;

use crate::suggest::nearest;

/// Longest option text in bytes.
pub const MAX_OPTION_LEN: usize = 4096;
/// Longest single value in bytes.
pub const MAX_VALUE_LEN: usize = 1024;

/// What an option text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Track the job, with these keys set.
    On(OptionSet),
    /// Do not track the job.
    Off,
    /// Print what can be said and do nothing else.
    Help,
}

/// Keys that were set, with checked values, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionSet {
    pairs: Vec<(&'static KeySpec, String)>,
}

impl OptionSet {
    /// The last value given for a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(k, _)| k.name == key).map(|(_, v)| v.as_str())
    }

    /// Names of the keys that were set, in the order given.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.pairs.iter().map(|(k, _)| k.name)
    }

    /// Adds `later`, whose values win.
    pub fn extend(&mut self, later: &Self) {
        self.pairs.extend(later.pairs.iter().cloned());
    }

    /// Sets one key, checking the value.
    ///
    /// # Errors
    ///
    /// [`OptionError`] for an unknown key or a value that is not allowed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        let spec = KEYS.iter().find(|k| k.name == key).ok_or_else(|| OptionError::unknown(key))?;
        check_text(key, value)?;
        if let Err(expected) = (spec.check)(value) {
            let (key, value) = (spec.name, shorten(value));
            return Err(OptionError::BadValue { key, value, expected: expected.to_owned() });
        }
        self.pairs.push((spec, value.to_owned()));
        Ok(())
    }

    /// Checks what one text asks for as a whole, and fills in the defaults.
    ///
    /// What the site set is not looked at: beside its keys the job's win.
    ///
    /// # Errors
    ///
    /// [`OptionError`] for keys that exclude each other.
    pub fn check(&self) -> Result<Settings, OptionError> {
        let epoch_by = self.get("epoch_by");
        let is_by_mark = !matches!(epoch_by, Some("step" | "pattern"));
        if let (Some(pattern), Some("mark" | "step")) = (self.get("epoch_pattern"), epoch_by) {
            let other = if is_by_mark { "epoch_by:mark" } else { "epoch_by:step" };
            let value = shorten(pattern);
            let expected = "epoch_by:pattern, or no epoch_pattern";
            return Err(OptionError::Clash { key: "epoch_pattern", value, other, expected });
        }
        let settings = Settings::resolve(self)?;
        if settings.stop_and_confirm && settings.epoch_by != EpochBy::Mark {
            let other = if is_by_mark { "epoch_pattern" } else { "epoch_by:step or pattern" };
            let expected = "epoch_by:mark: only \"ct-track epoch end\" can hold the program";
            let (key, value) = ("stop_and_confirm", "true".to_owned());
            return Err(OptionError::Clash { key, value, other, expected });
        }
        Ok(settings)
    }

    /// The keys as an option text, which [`parse`] reads as this set.
    pub fn to_text(&self) -> String {
        let escape = |value: &str| {
            let escaped = value.replace('\\', "\\\\").replace(',', "\\,");
            escaped.replace(':', "\\:")
        };
        let pair = |(key, value): &(&KeySpec, String)| format!("{}:{}", key.name, escape(value));
        self.pairs.iter().map(pair).collect::<Vec<_>>().join(",")
    }
}

/// Why an option text is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No such key.
    #[error("unknown key {key:?}{}; known keys: {}", hint(.nearest), known_keys())]
    UnknownKey {
        /// The word given.
        key: String,
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A word that is neither `KEY:VALUE` nor on, off, help.
    #[error("{word:?} has no value, expected KEY:VALUE, \"on\", \"off\" or \"help\"{}", hint(.nearest))]
    NoValue {
        /// The word given.
        word: String,
        /// The key that was probably meant, or the key with its value.
        nearest: Option<String>,
    },
    /// A blank before a key, or nothing behind a comma, as where Slurm cut the option at a blank.
    #[error("{word:?} follows a comma, expected KEY:VALUE,KEY:VALUE with no blank after the comma")]
    Blank {
        /// What stands behind the comma.
        word: String,
    },
    /// A value that its key does not allow.
    #[error("{key} is {value:?}, expected {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value, shortened.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// Two values that exclude each other.
    #[error(
        "monitor_epochs is {monitor}, expected -1 (all) or at least epochs_before_pred, which is {before}"
    )]
    MonitorBeforePrediction {
        /// `monitor_epochs`.
        monitor: i64,
        /// `epochs_before_pred`.
        before: i64,
    },
    /// A part of a simulated component.
    #[error("{key} is given without {missing}; a simulated component needs its name and its watts")]
    Incomplete {
        /// The key that was given.
        key: &'static str,
        /// The key that lacks.
        missing: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("{key} is {value:?} beside {other:?}, expected {expected}")]
    Clash {
        /// The key.
        key: &'static str,
        /// Its value, shortened.
        value: String,
        /// The key it clashes with, and its value.
        other: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// A text or value that is too long.
    #[error("{what} is {len} bytes long, expected at most {max}: {start:?}…")]
    TooLong {
        /// The key, or "the option".
        what: String,
        /// Its length in bytes.
        len: usize,
        /// What is allowed.
        max: usize,
        /// How it begins.
        start: String,
    },
    /// Control characters.
    #[error("{key} is {value:?}, expected text without control characters")]
    Control {
        /// The key.
        key: String,
        /// The value, escaped when shown.
        value: String,
    },
}

impl OptionError {
    fn unknown(key: &str) -> Self {
        Self::UnknownKey { key: shorten(key), nearest: nearest(key, KEYS.iter().map(|k| k.name)) }
    }
}

fn hint<T: AsRef<str>>(nearest: &Option<T>) -> String {
    nearest
        .as_ref()
        .map(AsRef::as_ref)
        .map(|n| format!(" (did you mean {n:?}?)"))
        .unwrap_or_default()
}

fn known_keys() -> String {
    KEYS.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")
}

fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(60).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

fn check_text(key: &str, value: &str) -> Result<(), OptionError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(too_long(key, value, MAX_VALUE_LEN));
    }
    if value.chars().any(char::is_control) {
        return Err(OptionError::Control { key: shorten(key), value: shorten(value) });
    }
    Ok(())
}

fn too_long(what: &str, text: &str, max: usize) -> OptionError {
    let start = text.chars().take(20).collect();
    OptionError::TooLong { what: shorten(what), len: text.len(), max, start }
}

/// Reads an option text.
///
/// Slurm hands over `(null)` or nothing where the option stands alone; that means `on`.
///
/// # Errors
///
/// [`OptionError`], with a message for the job's owner.
pub fn parse(text: &str) -> Result<Choice, OptionError> {
    match text.trim() {
        "" | "(null)" | "on" => return Ok(Choice::On(OptionSet::default())),
        "off" => return Ok(Choice::Off),
        "help" => return Ok(Choice::Help),
        _ => {}
    }
    let mut set = OptionSet::default();
    for (at, item) in split::items(text).into_iter().enumerate() {
        let is_blank = item.key.is_empty() || item.key.starts_with(char::is_whitespace);
        if at > 0 && is_blank {
            check_text("the option", &item.key)?;
            return Err(OptionError::Blank { word: shorten(&item.key) });
        }
        match item.value {
            Some(value) => set.set(&item.key, &value)?,
            None => {
                check_text("the option", &item.key)?;
                let nearest = meant(&item.key);
                return Err(OptionError::NoValue { word: shorten(&item.key), nearest });
            }
        }
    }
    // After the values, so that a long value is reported by its key.
    if text.len() > MAX_OPTION_LEN {
        return Err(too_long("the option", text, MAX_OPTION_LEN));
    }
    set.check()?;
    Ok(Choice::On(set))
}

/// What a word without a colon was probably meant to be: `epochs=3`, or a key.
fn meant(word: &str) -> Option<String> {
    let names = || KEYS.iter().map(|k| k.name);
    match word.split_once('=') {
        Some((key, value)) => nearest(key, names()).map(|key| shorten(&format!("{key}:{value}"))),
        None => nearest(word, names()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> OptionSet {
        match parse(text) {
            Ok(Choice::On(set)) => set,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn words_alone() {
        for text in ["", "(null)", "on", " on "] {
            assert_eq!(on(text), OptionSet::default());
        }
        assert_eq!(parse("off"), Ok(Choice::Off));
        assert_eq!(parse("help"), Ok(Choice::Help));
    }

    #[test]
    fn keys_and_values() {
        let set = on(r"epochs:100,log_dir:/a\,b\:c,components:gpu,cpu,verbose:2,epochs:7");
        assert_eq!(set.get("epochs"), Some("7"));
        assert_eq!(set.get("log_dir"), Some("/a,b:c"));
        assert_eq!(set.get("components"), Some("gpu+cpu"));
        assert_eq!(set.get("verbose"), Some("2"));
    }

    #[test]
    fn refusals_name_key_value_and_what_is_allowed() {
        for (text, parts) in [
            ("epoch:3", &["unknown key \"epoch\"", "did you mean \"epochs\"", "known keys"][..]),
            ("epochs", &["\"epochs\" has no value", "KEY:VALUE"]),
            ("epochs=3", &["\"epochs=3\" has no value", "did you mean \"epochs:3\""]),
            ("verbose:2,epoch=3", &["\"epoch=3\" has no value", "did you mean \"epochs:3\""]),
            ("epochs:3, verbose:2", &["\" verbose\" follows a comma", "no blank after the comma"]),
            ("epochs:3,", &["\"\" follows a comma", "no blank after the comma"]),
            ("epochs:0", &["epochs is \"0\"", "whole number from 1"]),
            ("epochs:abc", &["epochs is \"abc\"", "whole number from 1"]),
            ("monitor_epochs:0", &["monitor_epochs is \"0\"", "-1"]),
            ("monitor_epochs:2,epochs_before_pred:3", &["monitor_epochs is 2", "which is 3"]),
            ("components:tpu", &["components is \"tpu\"", "all, cpu, gpu"]),
            ("components:gpu,tpu", &["\"tpu\" has no value"]),
            ("update_interval:-1", &["update_interval is \"-1\"", "seconds"]),
            ("log_dir:a\u{1b}[31m", &["log_dir is \"a\\u{1b}[31m\"", "control characters"]),
            ("log_file_prefix:a/b", &["log_file_prefix is \"a/b\"", "without \"/\""]),
            ("on_budget:kill", &["on_budget is \"kill\"", "warn"]),
            ("max_energy:NaN", &["max_energy is \"NaN\"", "kWh above 0"]),
            ("max_energy:-1", &["max_energy is \"-1\"", "kWh above 0"]),
            ("max_energy:inf", &["max_energy is \"inf\"", "at most 1000000000"]),
            ("max_co2:1e12", &["max_co2 is \"1e12\"", "at most 1000000000"]),
            ("max_co2:0", &["max_co2 is \"0\"", "grams above 0"]),
            ("epoch_pattern:Epoch (", &["epoch_pattern is \"Epoch (\"", "closing )"]),
            ("epoch_by:step,epoch_pattern:E", &["epoch_pattern is \"E\" beside", "epoch_by:step"]),
            ("epoch_by:step,stop_and_confirm:true", &["stop_and_confirm is", "epoch_by:mark"]),
            ("epoch_pattern:E,stop_and_confirm:true", &["stop_and_confirm is", "epoch_by:mark"]),
        ] {
            let message = refusal(text);
            for part in parts {
                assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
            }
        }
        let long = refusal(&format!("log_dir:{}", "x".repeat(10_000)));
        assert!(long.contains("log_dir is 10000 bytes long") && long.len() < 200, "{long}");
    }

    #[test]
    fn a_set_comes_back_from_its_text() {
        let set = on(r"epochs:100,epoch_pattern:\\w\: a\,b \d+,components:gpu,cpu,max_co2:none");
        assert_eq!(set.get("epoch_pattern"), Some(r"\w: a,b \d+"));
        assert_eq!(on(&set.to_text()), set);
    }

    #[test]
    fn every_key_is_in_the_help() {
        let help = help_text();
        assert!(KEYS.iter().all(|k| help.contains(k.name)), "{help}");
    }
}
