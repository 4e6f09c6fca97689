//! Tables in Markdown, which are aligned for the terminal as well.

use comfy_table::{CellAlignment, Table};

/// A Markdown table, the columns from `first_number` on aligned to the right.
pub fn markdown(header: &[&str], rows: Vec<Vec<String>>, first_number: usize) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(header);
    table.add_rows(rows);
    table.column_iter_mut().skip(first_number).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_markdown() {
        let table = markdown(&["a", "b"], vec![vec!["x".into(), "1".into()], vec!["y".into(), "22".into()]], 1);
        assert_eq!(table, "| a |  b |\n|---|----|\n| x |  1 |\n| y | 22 |\n");
    }
}
