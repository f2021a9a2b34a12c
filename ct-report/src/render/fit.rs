//! A table made to fit a terminal: one unit for all energies and one for all masses, named in the
//! heads, and the least important columns left out where not all have room.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use crate::amount::{KWH_UJ, Scale};
use crate::render::table::text;
use crate::row::{Cell, Head, Quantity};

/// Blanks beside each column.
const PADDING: usize = 2;

/// A table as texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fitted {
    /// Which columns of the whole table are shown.
    pub(crate) shown: Vec<usize>,
    pub(crate) heads: Vec<Cow<'static, str>>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// All columns, with the names they have everywhere.
pub(crate) fn whole(heads: &[Head], rows: &[Vec<Cell>]) -> Fitted {
    Fitted {
        shown: (0..heads.len()).collect(),
        heads: heads.iter().map(|head| head.name.into()).collect(),
        rows: rows.iter().map(|row| row.iter().map(text).collect()).collect(),
    }
}

/// The columns that have room in `width`, at prefixes that suit the numbers.
pub(crate) fn fit(heads: &[Head], rows: &[Vec<Cell>], width: usize) -> Fitted {
    let scales = [Quantity::Energy, Quantity::Mass].map(|q| (q, scale(q, heads, rows)));
    let of = |head: &Head| scales.iter().find(|(q, _)| Some(*q) == head.quantity).map(|(_, s)| *s);
    let heads_text: Vec<Cow<'static, str>> =
        heads.iter().map(|head| named(head, of(head))).collect();
    let cell = |(head, cell): (&Head, &Cell)| match (of(head), cell) {
        (Some(scale), Cell::Number(Some(number), _)) => scale.show(base(head.quantity, *number)),
        (_, cell) => text(cell),
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| heads.iter().zip(row).map(cell).collect()).collect();
    let widths = widths(&heads_text, &rows);
    let shown = chosen(heads, &widths, width);
    let pick = |row: &Vec<String>| shown.iter().map(|at| row[*at].clone()).collect();
    Fitted {
        heads: shown.iter().map(|at| heads_text[*at].clone()).collect(),
        rows: rows.iter().map(pick).collect(),
        shown,
    }
}

/// In the unit that scales start from: microjoules, grams.
fn base(quantity: Option<Quantity>, number: f64) -> f64 {
    if quantity == Some(Quantity::Energy) { number * KWH_UJ } else { number }
}

/// The prefix for all columns of a quantity, by the greatest number in them.
fn scale(quantity: Quantity, heads: &[Head], rows: &[Vec<Cell>]) -> Scale {
    let cells = rows.iter().flat_map(|row| heads.iter().zip(row));
    let numbers = cells.filter(|(head, _)| head.quantity == Some(quantity));
    let numbers = numbers.filter_map(|(_, cell)| match cell {
        Cell::Number(number, _) => number.map(|n| base(Some(quantity), n)),
        _ => None,
    });
    let most = numbers.fold(0.0, f64::max);
    match quantity {
        Quantity::Energy => Scale::energy(most.round() as u128),
        Quantity::Mass => Scale::mass(most),
    }
}

/// `energy_kwh` in MWh is `energy [MWh]`.
fn named(head: &Head, scale: Option<Scale>) -> Cow<'static, str> {
    let Some(scale) = scale else { return head.name.into() };
    let name = head.name.strip_suffix("_kwh").or_else(|| head.name.strip_suffix("_g"));
    format!("{} [{}]", name.unwrap_or(head.name), scale.unit).into()
}

fn widths(heads: &[Cow<'static, str>], rows: &[Vec<String>]) -> Vec<usize> {
    let of_rows = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|t| t.width()).max();
    let of_head = |(at, head): (usize, &Cow<'_, str>)| head.width().max(of_rows(at).unwrap_or(0));
    heads.iter().enumerate().map(of_head).map(|width| width + PADDING).collect()
}

/// Leaves out columns of the highest rank, of equal ones the last, until the others have room.
fn chosen(heads: &[Head], widths: &[usize], width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..heads.len()).collect();
    // The last column's blank is never printed.
    while shown.iter().map(|at| widths[*at]).sum::<usize>() > width + 1 {
        let least = shown.iter().enumerate().max_by_key(|(_, at)| heads[**at].rank);
        let Some((place, at)) = least else { break };
        if heads[*at].rank == 0 {
            break;
        }
        shown.remove(place);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: [Head; 5] = [
        Head::text("user"),
        Head::number("jobs").ranked(1),
        Head::number("energy_kwh").of(Some(Quantity::Energy)),
        Head::number("dram_kwh").of(Some(Quantity::Energy)).ranked(9),
        Head::number("co2e_g").of(Some(Quantity::Mass)).ranked(2),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |user: &str, energy, dram, co2e| {
            let number = |n| Cell::Number(Some(n), 6);
            let user = Cell::Text(Some(user.to_owned()));
            vec![user, Cell::Count(3), number(energy), number(dram), number(co2e)]
        };
        vec![row("eva", 1234.5, 0.5, 480_000.0), row("bob", 2.0, 0.0, 900.0)]
    }

    #[test]
    fn one_unit_holds_for_a_quantity_and_stands_in_the_head() {
        let fitted = fit(&HEADS, &rows(), 80);
        // 1234.5 kWh are 1.2345 MWh, whose last digit is even; 480 kg are the greatest mass.
        let heads = ["user", "jobs", "energy [MWh]", "dram [MWh]", "co2e [kg]"];
        assert_eq!(fitted.heads, heads);
        assert_eq!(fitted.rows[0], ["eva", "3", "1.234", "0.001", "480.0"]);
        assert_eq!(fitted.rows[1], ["bob", "3", "0.002", "0.000", "0.9"]);
    }

    #[test]
    fn the_least_important_columns_give_way() {
        // Widths with two blanks: 6, 6, 14, 12, 11; the last blank is not printed.
        assert_eq!(fit(&HEADS, &rows(), 48).shown, [0, 1, 2, 3, 4]);
        assert_eq!(fit(&HEADS, &rows(), 47).shown, [0, 1, 2, 4]);
        assert_eq!(fit(&HEADS, &rows(), 36).shown, [0, 1, 2, 4]);
        assert_eq!(fit(&HEADS, &rows(), 35).shown, [0, 1, 2]);
        // Keys and what has no rank are shown, however narrow it is.
        assert_eq!(fit(&HEADS, &rows(), 3).shown, [0, 2]);
    }

    #[test]
    fn nothing_has_a_unit_without_a_prefix() {
        let fitted = fit(&HEADS, &[], 80);
        assert_eq!(fitted.heads[2], "energy [Wh]");
        let whole = whole(&HEADS, &rows());
        assert_eq!(
            (whole.heads[2].as_ref(), whole.rows[0][2].as_str()),
            ("energy_kwh", "1234.500000")
        );
    }
}
