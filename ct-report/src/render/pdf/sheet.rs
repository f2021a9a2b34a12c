//! Pages of A4 that are filled from the top.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

const PAGE: (f32, f32) = (595.0, 842.0);
const MARGIN: f32 = 40.0;
/// Width of what is on a page, in points.
pub(super) const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;

const PLAIN: Name<'_> = Name(b"F1");
const BOLD: Name<'_> = Name(b"F2");

/// Pages, the last of which is being filled.
pub(super) struct Sheets {
    pages: Vec<Content>,
    last: Content,
    /// How far down the last page is filled.
    used: f32,
}

impl Sheets {
    /// One empty page.
    pub(super) fn new() -> Self {
        Self { pages: Vec::new(), last: Content::new(), used: 0.0 }
    }

    /// Leaves a blank of this height.
    pub(super) fn skip(&mut self, height: f32) {
        self.used += height;
    }

    /// Begins a page where this one has no room for the height.
    pub(super) fn keep(&mut self, height: f32) {
        if self.used > 0.0 && self.used + height > PAGE.1 - 2.0 * MARGIN {
            let full = std::mem::replace(&mut self.last, Content::new());
            self.pages.push(full);
            self.used = 0.0;
        }
    }

    /// Writes one line at a place below what is filled, and fills nothing.
    pub(super) fn put(&mut self, text: &str, size: f32, is_bold: bool, x: f32, below: f32) {
        let y = PAGE.1 - MARGIN - self.used - below - size;
        self.last.set_fill_rgb(0.1, 0.12, 0.14);
        show(&mut self.last, text, size, is_bold, MARGIN + x, y);
    }

    /// Writes a text from `x` on, in as many lines as it needs.
    pub(super) fn text(&mut self, text: &str, size: f32, is_bold: bool, x: f32) {
        for line in lines(text, size, WIDTH - x) {
            self.keep(size * 1.35);
            self.put(&line, size, is_bold, x, 0.0);
            self.skip(size * 1.35);
        }
    }

    /// The last page, and where on it is the upper left corner of what is free.
    pub(super) fn canvas(&mut self) -> (&mut Content, f32, f32) {
        let top = PAGE.1 - MARGIN - self.used;
        (&mut self.last, MARGIN, top)
    }

    /// The document.
    pub(super) fn finish(mut self, title: &str) -> Vec<u8> {
        self.pages.push(self.last);
        let mut pdf = Pdf::new();
        let [catalog, tree, plain, bold, info] = [1, 2, 3, 4, 5].map(Ref::new);
        let n = i32::try_from(self.pages.len()).unwrap_or(i32::MAX);
        let page_ref = |at: i32| Ref::new(6 + 2 * at);
        pdf.catalog(catalog).pages(tree);
        pdf.document_info(info).title(TextStr(title)).producer(TextStr("ct-report"));
        pdf.pages(tree).kids((0..n).map(page_ref)).count(n);
        for (at, content) in (0..).zip(self.pages) {
            let stream = Ref::new(7 + 2 * at);
            let mut page = pdf.page(page_ref(at));
            page.media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).parent(tree).contents(stream);
            page.resources().fonts().pair(PLAIN, plain).pair(BOLD, bold);
            page.finish();
            pdf.stream(stream, &content.finish());
        }
        for (font, name) in [(plain, &b"Helvetica"[..]), (bold, b"Helvetica-Bold")] {
            let mut font = pdf.type1_font(font);
            font.base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        pdf.finish()
    }
}

/// Writes one line with its baseline at `y`.
pub(super) fn show(content: &mut Content, text: &str, size: f32, is_bold: bool, x: f32, y: f32) {
    let bytes: Vec<u8> = text.chars().map(encoded).collect();
    content.begin_text().set_font(if is_bold { BOLD } else { PLAIN }, size);
    content.set_text_matrix([1.0, 0.0, 0.0, 1.0, x, y]).show(Str(&bytes)).end_text();
}

/// A character in Windows-1252, as far as it is that of Latin 1, and a dash or two.
fn encoded(c: char) -> u8 {
    match (c, u8::try_from(u32::from(c))) {
        ('–', _) => 0x96,
        ('…', _) => 0x85,
        ('€', _) => 0x80,
        (_, Ok(byte @ (b' '..=b'~' | 0xa0..))) => byte,
        _ => b'?',
    }
}

/// About how wide a text is: Helvetica's digits are 0.556 of its size, and most letters.
pub(super) fn width_of(text: &str, size: f32) -> f32 {
    let width = |c: char| match c {
        ' ' | '.' | ',' | ':' | ';' | '!' | '/' | '\\' | 'i' | 'j' | 'l' | 't' | 'f' | 'I'
        | '[' | ']' => 0.278,
        '(' | ')' | '-' | 'r' => 0.333,
        'm' | 'M' | '%' => 0.86,
        'w' | 'W' | '@' => 0.83,
        'A'..='Z' => 0.69,
        _ => 0.556,
    };
    text.chars().map(width).sum::<f32>() * size
}

/// A text in lines that are no wider than `room`; what has no blanks is cut.
fn lines(text: &str, size: f32, room: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let whole = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if width_of(&whole, size) <= room {
            *line = whole;
            continue;
        }
        let is_empty = line.is_empty();
        let mut rest = word.chars().peekable();
        while rest.peek().is_some() {
            let mut part = String::new();
            while let Some(c) =
                rest.next_if(|c| part.is_empty() || width_of(&format!("{part}{c}"), size) <= room)
            {
                part.push(c);
            }
            lines.push(part);
        }
        if is_empty && lines.first().is_some_and(String::is_empty) {
            lines.remove(0);
        }
    }
    lines
}
