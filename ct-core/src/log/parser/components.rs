//! The sentence that lists the devices of each component.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;

use super::line::find;

/// Made once: a sentence is short, and making a finder takes as long as a search.
static MARK: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b" with device(s) "));
const NAMES: [&str; 4] = ["gpu", "cpu", "dram", "rest"];

/// The devices of one component, as the log names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices<'a> {
    /// Component in lower case: `gpu`, `cpu`.
    pub component: &'static str,
    /// Names as the driver gives them; a name that contains `, ` is cut there, as the text is
    /// ambiguous.
    pub names: Vec<Cow<'a, str>>,
    /// Devices with a reading of their own; asked for with every power of every epoch.
    n_readings: usize,
}

impl Devices<'_> {
    /// How many times the logged mean of a component its whole power is.
    ///
    /// One for each device, but for Apple's pair, which is measured as one.
    pub(super) fn count(&self) -> f64 {
        self.n_readings.max(1) as f64
    }
}

/// Reads what follows `The following components were found:`.
///
/// One sentence a component, `GPU with device(s) A, B.`, and names may hold dots: a component
/// starts only where the text starts or a full stop and blanks precede it. Up to 1.0.4 component
/// names are in lower case.
pub(super) fn parse_components(text: &[u8]) -> Vec<Devices<'_>> {
    let mut found: Vec<Devices<'_>> = Vec::new();
    let mut open: Option<(&'static str, usize)> = None;
    let mut scanned = 0;
    while let Some(mark) = MARK.find(&text[scanned..]).map(|at| at + scanned) {
        scanned = mark + MARK.needle().len();
        let Some((component, end_before)) = component_before(text, mark) else { continue };
        if let Some((previous, from)) = open.filter(|(_, from)| *from <= end_before) {
            found.push(devices(previous, &text[from..end_before]));
        }
        open = Some((component, scanned));
    }
    if let Some((component, from)) = open {
        let last = text[from..].trim_ascii_end();
        found.push(devices(component, last.strip_suffix(b".").unwrap_or(last)));
    }
    found
}

/// The component whose name ends at `mark`, and where the text of the one before it ends.
fn component_before(text: &[u8], mark: usize) -> Option<(&'static str, usize)> {
    let before = &text[..mark];
    let ends_with = |name: &&&'static str| {
        let start = before.len().checked_sub(name.len());
        start.is_some_and(|start| before[start..].eq_ignore_ascii_case(name.as_bytes()))
    };
    let component = NAMES.iter().find(ends_with)?;
    let start = mark - component.len();
    let blanks = before[..start].trim_ascii_end();
    match blanks.strip_suffix(b".") {
        _ if blanks.is_empty() => Some((component, 0)),
        Some(end) if blanks.len() < start => Some((component, end.len())),
        _ => None,
    }
}

fn devices<'a>(component: &'static str, text: &'a [u8]) -> Devices<'a> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, b", ") {
        names.push(String::from_utf8_lossy(&rest[..at]));
        rest = &rest[at + 2..];
    }
    if !rest.is_empty() || !names.is_empty() {
        names.push(String::from_utf8_lossy(rest));
    }
    let is_apple = component == "gpu" && names == ["GPU", "ANE"];
    let n_readings = if is_apple { 1 } else { names.len() };
    Devices { component, names, n_readings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&'static str, Vec<String>)> {
        let own = |d: Devices<'_>| {
            (d.component, d.names.into_iter().map(Cow::into_owned).collect::<Vec<_>>())
        };
        parse_components(text.as_bytes()).into_iter().map(own).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn names_with_dots_are_kept_whole() {
        assert_eq!(
            read(" GPU with device(s) Pro V520 rev. 1.2, B. CPU with device(s) i7 @ 3.20GHz."),
            [("gpu", names(&["Pro V520 rev. 1.2", "B"])), ("cpu", names(&["i7 @ 3.20GHz"]))]
        );
        assert_eq!(
            read(" CPU with device(s) X v2.. GPU with device(s) A."),
            [("cpu", names(&["X v2."])), ("gpu", names(&["A"]))]
        );
    }

    #[test]
    fn the_oldest_form_is_read() {
        assert_eq!(
            read("  gpu with device(s) T4.  cpu with device(s) cpu:0, cpu:1."),
            [("gpu", names(&["T4"])), ("cpu", names(&["cpu:0", "cpu:1"]))]
        );
    }

    #[test]
    fn what_only_looks_like_a_component_is_part_of_a_name() {
        assert_eq!(
            read(" GPU with device(s) fake CPU with device(s) x."),
            [("gpu", names(&["fake CPU with device(s) x"]))]
        );
        assert_eq!(read(" nothing"), []);
        assert_eq!(read(" GPU with device(s) "), [("gpu", vec![])]);
    }

    #[test]
    fn apples_two_names_are_one_reading() {
        let devices = parse_components(b" GPU with device(s) GPU, ANE. CPU with device(s) a, b.");
        assert_eq!(devices.iter().map(Devices::count).collect::<Vec<_>>(), [1.0, 2.0]);
    }
}
