//! What one peer sent and nobody has answered yet: bytes, cut into lines, and the file handles that
//! travelled with them.
//!
//! A value without a socket: bytes come in pieces of any size, handles beside the first byte of one.

use std::collections::VecDeque;

use super::MAX_MESSAGE;

/// Handles that may wait: one more than any request takes, so that too many are seen to be too many.
/// Those beyond are closed at once: descriptors are few, and no peer's to use up.
pub const MOST_HANDLES: usize = 5;

/// One connection's unanswered bytes and handles.
#[derive(Debug)]
pub struct Inbox<H> {
    bytes: Vec<u8>,
    /// Where the first newline is, if there is one.
    end: Option<usize>,
    /// Handles, each with the place of the byte it came beside.
    handles: VecDeque<(usize, H)>,
}

impl<H> Default for Inbox<H> {
    fn default() -> Self {
        Self { bytes: Vec::new(), end: None, handles: VecDeque::new() }
    }
}

impl<H> Inbox<H> {
    /// Takes bytes, and the handles that came with the first of them.
    pub fn push(&mut self, bytes: &[u8], handles: impl IntoIterator<Item = H>) {
        let at = self.bytes.len();
        let room = MOST_HANDLES.saturating_sub(self.handles.len());
        // The rest is dropped here, which closes it.
        self.handles.extend(handles.into_iter().map(|handle| (at, handle)).take(room));
        self.bytes.extend_from_slice(bytes);
        if self.end.is_none() {
            self.end = find(bytes).map(|n| at + n);
        }
    }

    /// Whether a whole line is here.
    pub fn has_line(&self) -> bool {
        self.end.is_some()
    }

    /// Whether as much waits as one message may have: no more is to be read before that is answered.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= MAX_MESSAGE
    }

    /// Whether a message is longer than one may be.
    pub fn is_too_long(&self) -> bool {
        self.end.is_none() && self.is_full()
    }

    /// The next line, without its newline, and the handles that came beside its bytes.
    pub fn take_line(&mut self) -> Option<(Vec<u8>, Vec<H>)> {
        let end = self.end?;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        line.pop();
        self.end = find(&self.bytes);
        let n = self.handles.iter().take_while(|(at, _)| *at <= end).count();
        let of_line = self.handles.drain(..n).map(|(_, handle)| handle).collect();
        for (at, _) in &mut self.handles {
            *at -= end + 1;
        }
        Some((line, of_line))
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_as_they_went_in_however_they_are_cut() {
        let text = b"{\"a\":1}\n\nxyz\npart";
        for piece in 1..text.len() {
            let mut inbox: Inbox<u8> = Inbox::default();
            let mut lines = Vec::new();
            for bytes in text.chunks(piece) {
                inbox.push(bytes, []);
                while let Some((line, _)) = inbox.take_line() {
                    lines.push(line);
                }
            }
            assert_eq!(lines, [&b"{\"a\":1}"[..], b"", b"xyz"]);
            assert!(!inbox.has_line() && !inbox.is_too_long());
        }
    }

    #[test]
    fn a_handle_goes_with_the_line_it_came_beside() {
        let mut inbox = Inbox::default();
        inbox.push(b"ping\nlo", ["of ping"]);
        inbox.push(b"gs\n", ["of logs"]);
        assert_eq!(inbox.take_line().unwrap(), (b"ping".to_vec(), vec!["of ping"]));
        assert_eq!(inbox.take_line().unwrap(), (b"logs".to_vec(), vec!["of logs"]));
        assert!(inbox.take_line().is_none());
    }

    #[test]
    fn handles_beyond_a_few_are_not_kept() {
        let mut inbox = Inbox::default();
        for n in 0..100 {
            inbox.push(b"x", [n, n]);
        }
        assert_eq!(inbox.handles.len(), MOST_HANDLES);
        inbox.push(b"\n", []);
        assert_eq!(inbox.take_line().unwrap().1.len(), MOST_HANDLES);
    }

    #[test]
    fn a_line_without_end_is_too_long_and_many_lines_are_not() {
        let mut inbox: Inbox<()> = Inbox::default();
        inbox.push(&vec![b'x'; MAX_MESSAGE], []);
        assert!(inbox.is_too_long());
        inbox.push(b"\n", []);
        assert!(inbox.is_full() && !inbox.is_too_long());
    }
}
