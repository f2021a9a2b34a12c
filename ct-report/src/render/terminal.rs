//! What the terminal can show: how wide it is, and which characters it knows.

use std::env;
use std::io;

use unicode_width::UnicodeWidthStr;

use ct_core::text::printable;

/// Width where nothing says how wide the terminal is: a pipe, a file.
const WIDTH: usize = 80;

/// Narrower than this nothing can be read, and lines are longer than the terminal.
const WIDTH_MIN: usize = 26;

/// Lines longer than this are hard to read.
const WIDTH_MAX: usize = 110;

/// How wide a table may be; `None` where it is not shown on a terminal, but read by a program.
pub(crate) fn table_width() -> Option<usize> {
    let is_terminal = rustix::termios::isatty(io::stdout());
    is_terminal.then(|| columns().unwrap_or(WIDTH).max(WIDTH_MIN))
}

/// The columns of standard output: `COLUMNS`, else the terminal's own.
fn columns() -> Option<usize> {
    let said = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let own = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col.into());
    said.or_else(own).filter(|width: &usize| *width > 0)
}

/// Where text is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Columns.
    pub(crate) width: usize,
    /// Whether characters beyond ASCII are shown.
    pub(crate) is_utf8: bool,
}

impl Terminal {
    /// The terminal of standard output: `COLUMNS`, else its own width, else 80 columns.
    pub(crate) fn detect() -> Self {
        let width = columns().unwrap_or(WIDTH);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Self { width: width.clamp(WIDTH_MIN, WIDTH_MAX), is_utf8 }
    }

    /// Text fit to be shown: nothing a terminal obeys, and ASCII where it knows nothing else.
    pub(crate) fn text(self, text: &str) -> String {
        let text = printable(text);
        if self.is_utf8 || text.is_ascii() {
            return text.into_owned();
        }
        let plain = |c: char| match c {
            '×' => "x".to_owned(),
            '…' => "...".to_owned(),
            '–' | '−' => "-".to_owned(),
            '·' => "*".to_owned(),
            '÷' => "/".to_owned(),
            c if c.is_ascii() => c.to_string(),
            c => c.escape_unicode().to_string(),
        };
        text.chars().map(plain).collect()
    }

    /// A bar for `value`, `max` being as wide as `width`; what is more than nothing shows.
    pub(crate) fn bar(self, value: f64, max: f64, width: usize) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        if !(value > 0.0 && max > 0.0) {
            return String::new();
        }
        let eighths = (value / max * width as f64 * 8.0).round() as usize;
        let eighths = eighths.clamp(1, width * 8);
        if self.is_utf8 {
            "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
        } else {
            "#".repeat(eighths.div_ceil(8))
        }
    }

    /// Text in lines no wider than the terminal: the first behind `head`, the others below its end.
    /// What has no blanks is cut.
    pub(crate) fn wrap(self, head: &str, text: &str) -> Vec<String> {
        let indent = head.width();
        let room = self.width.saturating_sub(indent).max(8);
        let mut lines = vec![String::new()];
        for word in self.text(text).split(' ').filter(|word| !word.is_empty()) {
            let mut word = word;
            loop {
                let line = lines.last_mut().expect("there is a line from the start");
                let used = line.width() + usize::from(!line.is_empty());
                if used + word.width() <= room {
                    line.push_str(if line.is_empty() { "" } else { " " });
                    line.push_str(word);
                    break;
                }
                if line.is_empty() {
                    let (fits, rest) = word.split_at(cut(word, room));
                    line.push_str(fits);
                    word = rest;
                }
                lines.push(String::new());
            }
        }
        let blank = " ".repeat(indent);
        let line = |(at, line): (usize, String)| {
            let whole = if at == 0 { format!("{head}{line}") } else { format!("{blank}{line}") };
            whole.trim_end().to_owned()
        };
        lines.into_iter().enumerate().map(line).collect()
    }
}

/// How many bytes of a word are no wider than `room`; one character at least.
fn cut(word: &str, room: usize) -> usize {
    let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut fitting = ends.clone().filter(|end| word[..*end].width() <= room);
    fitting.next_back().or_else(|| ends.clone().next()).unwrap_or(word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: Terminal = Terminal { width: 24, is_utf8: true };
    const ASCII: Terminal = Terminal { width: 24, is_utf8: false };

    #[test]
    fn bars_are_as_long_as_their_values() {
        assert_eq!(UTF8.bar(4.0, 8.0, 4), "██");
        // A third of three columns and a bit: 8 eighths and 1.
        assert_eq!(UTF8.bar(3.0, 8.0, 3), "█▏");
        assert_eq!(ASCII.bar(3.0, 8.0, 3), "##");
        assert_eq!(UTF8.bar(1e-9, 8.0, 4), "▏");
        for nothing in [0.0, -1.0, f64::NAN] {
            assert_eq!(UTF8.bar(nothing, 8.0, 4), "");
        }
        assert_eq!(UTF8.bar(f64::INFINITY, 8.0, 4), "████");
        assert_eq!(UTF8.bar(1.0, 0.0, 4), "");
    }

    #[test]
    fn lines_are_no_wider_than_the_terminal() {
        let lines = UTF8.wrap("  owner ", "eva of the account with-a-name-longer-than-the-line");
        let shown = [
            "  owner eva of the",
            "        account",
            "        with-a-name-long",
            "        er-than-the-line",
        ];
        assert_eq!(lines, shown);
        // Two columns a character.
        assert!(UTF8.wrap("", &"実".repeat(30)).iter().all(|line| line.width() <= 24));
        assert_eq!(UTF8.wrap("  x ", ""), ["  x"]);
    }

    #[test]
    fn text_is_fit_for_the_terminal() {
        assert_eq!(UTF8.text("Zoë\x1b[2J"), "Zoë\\u{1b}[2J");
        assert_eq!(ASCII.text("Zoë × 2"), "Zo\\u{eb} x 2");
        // What our own lines have, as in the formula of the SCI.
        assert_eq!(ASCII.text("E 1 kWh · I 2…"), "E 1 kWh * I 2...");
    }
}
