//! Text in columns: as wide as their widest cell, two blanks apart, numbers to the right.

/// The alignment of a cell in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lines of cells under a heading.
#[derive(Clone, Debug)]
pub struct TextTable {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table without lines.
    pub fn new(columns: &[(&'static str, Side)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a line; missing cells are empty, cells beyond the last column are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as lines of text without trailing blanks, the heading first.
    pub fn lines(&self) -> Vec<String> {
        self.lines_at_least(&mut Vec::new())
    }

    /// As [`TextTable::lines`], with columns at least as wide as `widths`, which is set to the new widths: for a
    /// table that continues another.
    pub fn lines_at_least(&self, widths: &mut Vec<usize>) -> Vec<String> {
        widths.resize(self.columns.len(), 0);
        for (number, width) in widths.iter_mut().enumerate() {
            *width = self.width(number).max(*width);
        }
        let heading: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let mut lines = Vec::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            lines.push(self.line(row, widths));
        }
        lines
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (number, (_, side)) in self.columns.iter().enumerate() {
            let cell = row.get(number).map_or("", String::as_str);
            let width = widths.get(number).copied().unwrap_or(0);
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            if number > 0 {
                line.push_str("  ");
            }
            match side {
                Side::Left => line.extend([cell, &blanks]),
                Side::Right => line.extend([&blanks, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn width(&self, column: usize) -> usize {
        let heading = self.columns.get(column).map_or("", |(name, _)| name);
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.chain([heading.chars().count()]).max().unwrap_or(0)
    }
}

/// A number with at most one digit after the point, and a dash for none.
pub fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() && value.abs() < 10.0 => format!("{value:.1}"),
        Some(value) if value.is_finite() => format!("{value:.0}"),
        _ => "-".to_owned(),
    }
}

/// Text from outside, made safe for a line of a terminal: without control characters.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table =
            TextTable::new(&[("node", Side::Left), ("ms", Side::Right), ("", Side::Left)]);
        table.row(["usa", "5", "here"].map(str::to_owned));
        table.row(["singapore", "1234"].map(str::to_owned));
        let expected = [
            "node         ms",
            "usa           5  here",
            "singapore  1234",
        ];
        assert_eq!(table.lines(), expected);
    }

    #[test]
    fn width_counts_characters_not_bytes() {
        let mut table = TextTable::new(&[("a", Side::Left), ("b", Side::Left)]);
        table.row(["é".to_owned(), "x".to_owned()]);
        assert_eq!(table.lines(), ["a  b", "é  x"]);
    }

    #[test]
    fn a_number_is_short_and_an_absent_one_a_dash() {
        assert_eq!(number(Some(3.26)), "3.3");
        assert_eq!(number(Some(163.4)), "163");
        assert_eq!(number(Some(f64::NAN)), "-");
        assert_eq!(number(None), "-");
    }

    #[test]
    fn control_characters_of_others_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a[2Jb");
    }
}
