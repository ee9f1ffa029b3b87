//! The status as plain text.

use std::fmt::Write;

use super::layout::{pad, width, widths};
use crate::status::{Status, Table};

/// Returns the status as lines.
pub(super) fn of(status: &Status) -> String {
    let Status { state, about, span, warnings, numbers, tables, .. } = status;
    let mut text = format!("{state}, {about}; rates and times cover the last {span}\n");
    for warning in warnings {
        text += &format!("warning: {warning}\n");
    }
    text.push('\n');
    let names = numbers.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
    for (name, value) in numbers {
        text += &format!("{}  {value}\n", pad(name, names, true));
    }
    tables.iter().for_each(|table| add(table, &mut text));
    text
}

fn add(table: &Table, text: &mut String) {
    let _ = writeln!(text, "\n{}", table.title);
    let widths = widths(table);
    let heads = table.columns.iter().map(|column| column.name.clone()).collect();
    for row in [&heads].into_iter().chain(&table.rows) {
        let columns = table.columns.iter().zip(&widths);
        let cells: Vec<_> =
            row.iter().zip(columns).map(|(cell, (column, width))| pad(cell, *width, column.is_text)).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}
