//! Rows of a report before they have a form: cells, and the heads above them.

/// The head of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its name, in every form.
    pub(crate) name: &'static str,
    /// Whether its cells are text, which is aligned to the left.
    pub(crate) is_text: bool,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(Option<String>),
    Count(usize),
    /// A whole number, printed with all its digits.
    Integer(Option<i128>),
    /// A number, and how many decimals are enough for the eye.
    Number(Option<f64>, usize),
    /// Joules, exactly.
    Microjoules(u128),
}
