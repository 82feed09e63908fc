//! Rows under headings, for people: columns as wide as they need to be, numbers to the right.

use std::io::{self, Write};

/// Prints headings and rows, indented by two; nothing at all where there is no row.
pub(crate) fn print<const COLUMNS: usize>(
    out: &mut impl Write,
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    });
    let is_number = |cell: &String| cell == NONE || cell.parse::<i64>().is_ok();
    let to_the_right: [bool; COLUMNS] =
        std::array::from_fn(|column| rows.iter().all(|row| is_number(&row[column])));
    let mut line = |cells: [&str; COLUMNS]| {
        let mut text = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            let width = widths[column];
            text += "  ";
            text += &match to_the_right[column] {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            };
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(headings)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

/// What stands where there is no value.
pub(crate) const NONE: &str = "-";

/// A value, or [`NONE`].
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_text_to_the_left() {
        let row = |name: &str, lag: Option<i64>| [name.to_owned(), cell(lag)];
        let mut out = Vec::new();
        print(&mut out, ["topic", "lag"], &[row("orders", Some(12_345)), row("a", None)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "  topic     lag\n  orders  12345\n  a           -\n");
    }

    #[test]
    fn nothing_is_printed_for_no_rows() {
        let mut out = Vec::new();
        print(&mut out, ["topic"], &[]).unwrap();
        assert!(out.is_empty());
    }
}
