//! Columns, each as wide as its widest cell. Cells are made printable here, since the width is that of
//! what is shown, and since a cell with a newline would begin another row.

use std::borrow::Cow;

use cairn_formats::printable;

/// The first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [["name", "x"], ["a", "longer"], ["abcdef", ""]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "name    x\na       longer\nabcdef\n");
    }

    #[test]
    fn a_cell_is_as_wide_as_it_is_shown_and_stays_in_its_row() {
        let rows = [["name", "x"], ["a\nb\u{9b}", "y"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "name        x\na\\nb\\u{9b}  y\n");
    }
}
