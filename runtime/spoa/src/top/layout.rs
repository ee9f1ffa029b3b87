//! The widths of the columns of a table.

use ratatui::text::Line;

use crate::status::Table;

/// The number of columns of the terminal between two columns of a table.
pub(super) const GAP: usize = 2;

/// Returns the number of columns of a terminal that a text takes.
pub(super) fn width(text: &str) -> usize {
    Line::raw(text).width()
}

/// Returns the width of each column: that of its widest cell.
pub(super) fn widths(table: &Table) -> Vec<usize> {
    let cells = |at: usize| table.rows.iter().filter_map(move |row| row.get(at)).map(|cell| width(cell));
    let columns = table.columns.iter().enumerate();
    columns.map(|(at, column)| cells(at).chain([width(&column.name)]).max().unwrap_or_default()).collect()
}

/// Returns the indices of the columns that fit into `space`: the first one, and others after `skipped` of them.
pub(super) fn visible(widths: &[usize], skipped: usize, space: usize) -> Vec<usize> {
    let mut used = 0;
    let wanted = (0..widths.len()).filter(|at| *at == 0 || *at > skipped);
    let fits = |at: &usize| {
        used += widths[*at] + if *at == 0 { 0 } else { GAP };
        *at == 0 || used <= space
    };
    wanted.take_while(fits).collect()
}

/// Pads a cell to the width of its column: texts on the right, numbers on the left.
pub(super) fn pad(cell: &str, to: usize, is_text: bool) -> String {
    let spaces = " ".repeat(to.saturating_sub(width(cell)));
    if is_text { format!("{cell}{spaces}") } else { format!("{spaces}{cell}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_column_stays_and_others_are_whole() {
        let widths = [5, 4, 3, 9];
        assert_eq!(visible(&widths, 0, 80), [0, 1, 2, 3]);
        assert_eq!(visible(&widths, 0, 16), [0, 1, 2]);
        assert_eq!(visible(&widths, 0, 15), [0, 1]);
        assert_eq!(visible(&widths, 2, 16), [0, 3]);
        assert_eq!(visible(&widths, 9, 1), [0]);
        assert_eq!(visible(&[], 0, 80), [0; 0]);
    }

    #[test]
    fn cells_are_padded_by_the_width_that_a_terminal_shows() {
        assert_eq!(pad("a", 3, true), "a  ");
        assert_eq!(pad("7", 3, false), "  7");
        assert_eq!(pad("漢", 3, true), "漢 ");
        assert_eq!(pad("long", 3, true), "long");
    }
}
