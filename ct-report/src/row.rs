//! Rows of a report before they have a form: cells, and the heads above them.

/// The head of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its name, in every form.
    pub(crate) name: &'static str,
    /// Whether its cells are text, which is aligned to the left.
    pub(crate) is_text: bool,
    /// What its numbers are of, where a terminal is shown another unit than the name says.
    pub(crate) quantity: Option<Quantity>,
    /// How early the column is left out where a terminal is narrow; 0 for never.
    pub(crate) rank: u8,
}

impl Head {
    /// Of texts.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, is_text: true, quantity: None, rank: 0 }
    }

    /// Of numbers.
    pub(crate) const fn number(name: &'static str) -> Self {
        Self { is_text: false, ..Self::text(name) }
    }

    /// Of energies or masses, in the unit at the end of the name.
    pub(crate) const fn of(self, quantity: Option<Quantity>) -> Self {
        Self { quantity, ..self }
    }

    /// Left out early if the rank is high.
    pub(crate) const fn ranked(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// What numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Energy, in kWh.
    Energy,
    /// Mass of CO2e, in grams.
    Mass,
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
