//! A place in a line of JSON that is in the form of our writer: no spaces, fields in their order.
//!
//! Each step is `None` where the line goes on otherwise than expected.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::energy::ByComponent;
use crate::record::timestamp;
use crate::units::Microjoules;

/// What is left of a line.
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

/// A text, where it stands: within an `Option` or a `Vec`, and in a stream, serde would copy a `Cow`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether this comes next; goes behind it.
    #[inline]
    pub(super) fn has(&mut self, literal: &str) -> bool {
        let rest = self.rest.strip_prefix(literal);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Goes behind this, which has to come next.
    #[inline]
    pub(super) fn pass(&mut self, literal: &str) -> Option<()> {
        self.has(literal).then_some(())
    }

    /// Reads `null`, or what `read` reads.
    pub(super) fn known<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.has("null") { Some(None) } else { read(self).map(Some) }
    }

    /// Reads any value of JSON.
    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok()?;
        self.rest = &self.rest[values.byte_offset()..];
        Some(value)
    }

    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        let text = self.rest.strip_prefix('"')?;
        let is_special = |b: u8| b == b'"' || b == b'\\' || b < b' ';
        let end = text.bytes().position(is_special)?;
        if text.as_bytes()[end] == b'"' {
            self.rest = &text[end + 1..];
            return Some(Cow::Borrowed(&text[..end]));
        }
        self.value::<Text<'a>>().map(|text| text.0)
    }

    /// Reads digits.
    pub(super) fn integer<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let digits = self.take(|b| !b.is_ascii_digit());
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        T::try_from(digits.parse().ok()?).ok()
    }

    /// Reads a number as any reader of ours does, to the last bit.
    pub(super) fn float(&mut self) -> Option<f64> {
        serde_json::from_str(self.take(|b| matches!(b, b',' | b'}' | b']'))).ok()
    }

    /// What comes before the first such byte, which is ASCII.
    fn take(&mut self, is_end: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(is_end).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    pub(super) fn energy(&mut self) -> Option<Microjoules> {
        let (energy, len) = Microjoules::parse_first(self.rest.as_bytes())?;
        self.rest = &self.rest[len..];
        Some(energy)
    }

    /// Reads `{"cpu":1.000000,"dram":0.000000,"gpu":0.000000,"rest":0.000000}`.
    pub(super) fn energies(&mut self) -> Option<ByComponent<Microjoules>> {
        let mut next = |name| self.pass(name).and_then(|()| self.energy());
        let (cpu, dram) = (next("{\"cpu\":")?, next(",\"dram\":")?);
        let (gpu, rest) = (next(",\"gpu\":")?, next(",\"rest\":")?);
        self.pass("}")?;
        Some(ByComponent { cpu, dram, gpu, rest })
    }

    pub(super) fn instant(&mut self) -> Option<DateTime<Utc>> {
        let (instant, rest) = self.rest.strip_prefix('"')?.split_at_checked(timestamp::LEN)?;
        self.rest = rest.strip_prefix('"')?;
        timestamp::parse_own_form(instant.as_bytes())
    }

    /// Reads a list, or a map, item by item.
    pub(super) fn each(
        &mut self,
        [open, close]: [&str; 2],
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.pass(open)?;
        if self.has(close) {
            return Some(());
        }
        loop {
            item(self)?;
            if self.has(close) {
                return Some(());
            }
            self.pass(",")?;
        }
    }
}
