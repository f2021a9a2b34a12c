//! Draws plotters' charts into the content of a PDF page.

use std::convert::Infallible;

use pdf_writer::Content;
use plotters::prelude::DrawingBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind,
};

use super::sheet::{show, width_of};

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// A part of a page; one of plotters' pixels is a point.
pub(super) struct Backend<'a> {
    content: &'a mut Content,
    x: f32,
    top: f32,
    size: (u32, u32),
}

impl<'a> Backend<'a> {
    /// The part whose upper left corner is at `x`, `top`, counted from the page's lower left one.
    pub(super) fn new(content: &'a mut Content, x: f32, top: f32, size: (u32, u32)) -> Self {
        Self { content, x, top, size }
    }

    fn at(&self, (x, y): BackendCoord) -> (f32, f32) {
        (self.x + x as f32, self.top - y as f32)
    }

    fn fill_color(&mut self, color: BackendColor) {
        let [r, g, b] = parts(color);
        self.content.set_fill_rgb(r, g, b);
    }

    fn path(&mut self, points: impl IntoIterator<Item = BackendCoord>) -> bool {
        let mut points = points.into_iter();
        let Some(first) = points.next() else { return false };
        let (x, y) = self.at(first);
        self.content.move_to(x, y);
        for point in points {
            let (x, y) = self.at(point);
            self.content.line_to(x, y);
        }
        true
    }

    fn stroke<S: BackendStyle>(&mut self, style: &S) {
        let [r, g, b] = parts(style.color());
        self.content.set_stroke_rgb(r, g, b);
        self.content.set_line_width(0.6 * style.stroke_width() as f32);
    }
}

fn parts(color: BackendColor) -> [f32; 3] {
    let (r, g, b) = color.rgb;
    [r, g, b].map(|part| f32::from(part) / 255.0)
}

fn is_seen<S: BackendStyle>(style: &S) -> bool {
    style.color().alpha > 0.0
}

impl DrawingBackend for Backend<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        if color.alpha > 0.0 {
            self.fill_color(color);
            let (x, y) = self.at(point);
            self.content.rect(x, y - 1.0, 1.0, 1.0).fill_nonzero();
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        is_filled: bool,
    ) -> Drawn {
        if is_seen(style) {
            self.fill_color(style.color());
            self.stroke(style);
            let ((left, top), (right, bottom)) = (self.at(upper_left), self.at(bottom_right));
            self.content.rect(left, bottom, right - left, top - bottom);
            if is_filled {
                self.content.fill_nonzero()
            } else {
                self.content.stroke()
            };
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if is_seen(style) {
            self.stroke(style);
            if self.path(path) {
                self.content.stroke();
            }
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if is_seen(style) {
            self.fill_color(style.color());
            if self.path(path) {
                self.content.close_path().fill_nonzero();
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        pos: BackendCoord,
    ) -> Drawn {
        let (size, anchor) = (style.size() as f32 * 0.75, style.anchor());
        let (x, y) = self.at(pos);
        let width = width_of(text, size);
        let x = match anchor.h_pos {
            HPos::Left => x,
            HPos::Center => x - width / 2.0,
            HPos::Right => x - width,
        };
        // Capitals of Helvetica are 0.72 of its size high.
        let y = match anchor.v_pos {
            VPos::Top => y - 0.72 * size,
            VPos::Center => y - 0.36 * size,
            VPos::Bottom => y,
        };
        self.fill_color(style.color());
        show(self.content, text, size, false, x, y);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = style.size() as f32 * 0.75;
        Ok((width_of(text, size).ceil() as u32, size.ceil() as u32))
    }
}
