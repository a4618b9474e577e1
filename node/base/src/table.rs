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

    /// As [`TextTable::lines`], of at most `room` characters each: the widest are cut first, each down to its column's
    /// `least`; a column without one is not cut. Wider where that does not suffice.
    pub fn lines_within(&self, room: usize, least: &[Option<usize>]) -> Vec<String> {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|it| self.width(it)).collect();
        fit(&mut widths, least, room);
        let titles = self.columns.iter().map(|(name, _)| (*name).to_owned());
        let titles: Vec<String> = titles.collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        rows.map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (number, (_, side)) in self.columns.iter().enumerate() {
            let width = widths.get(number).copied().unwrap_or(0);
            let cell = &*cut(row.get(number).map_or("", String::as_str), width);
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

/// Blanks between columns.
const GAP: usize = 2;

/// Makes columns narrower until all fit into `room` characters, the widest first, each down to its `least`; a column
/// without one is not cut.
pub fn fit(widths: &mut [usize], least: &[Option<usize>], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        let cuttable = widths.iter_mut().zip(least);
        let cuttable = cuttable.filter(|(width, least)| least.is_some_and(|least| **width > least));
        let Some((widest, _)) = cuttable.max_by_key(|(width, _)| **width) else {
            break;
        };
        *widest -= 1;
    }
}

/// `text` in at most `width` characters, with a sign where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('\u{2026}');
    short
}

/// `text` as lines of at most `room` characters, broken at blanks where there are some; each line but the first is
/// indented.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is a line always");
            let blank = usize::from(!line.is_empty() && line.as_str() != INDENT);
            let left = room.saturating_sub(line.chars().count() + blank);
            if word.len() <= left {
                line.extend(std::iter::repeat_n(' ', blank).chain(word));
                break;
            }
            if blank == 0 {
                // A word longer than a line.
                let rest = word.split_off(left.clamp(1, word.len()));
                line.extend(std::mem::replace(&mut word, rest));
            }
            lines.push(INDENT.to_owned());
        }
    }
    lines
}

/// `shown` of `all` names in one line, such as `a, b and 3 more`.
pub fn listed(shown: &[String], all: usize) -> String {
    let names = shown.join(", ");
    match all.saturating_sub(shown.len()) {
        0 => names,
        more => format!("{names} and {more} more"),
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
    fn widest_words_are_cut_first_and_numbers_are_not() {
        let mut table = TextTable::new(&[
            ("node", Side::Left),
            ("ms", Side::Right),
            ("upstream", Side::Left),
        ]);
        table.row(["singapore", "123456", "primary-with-a-long-name"].map(str::to_owned));
        let least = [Some(4), None, Some(4)];
        let lines = table.lines_within(30, &least);
        assert_eq!(lines[1], "singapore  123456  primary-wi\u{2026}");
        assert!(lines.iter().all(|line| line.chars().count() <= 30));
        assert_eq!(table.lines_within(200, &least), table.lines());
    }

    #[test]
    fn names_that_are_not_shown_are_counted() {
        let shown = ["a", "b"].map(str::to_owned);
        assert_eq!(listed(&shown, 2), "a, b");
        assert_eq!(listed(&shown, 5), "a, b and 3 more");
    }

    #[test]
    fn cut_text_is_marked() {
        assert_eq!(
            (cut("abc", 3).as_str(), cut("abcd", 3).as_str()),
            ("abc", "ab\u{2026}")
        );
    }

    #[test]
    fn text_is_broken_at_blanks_and_a_word_longer_than_a_line_anywhere() {
        assert_eq!(wrap("one two", 80), ["one two"]);
        assert_eq!(wrap("one two three", 8), ["one two", "  three"]);
        assert_eq!(wrap("a abcdefghij", 6), ["a", "  abcd", "  efgh", "  ij"]);
        assert_eq!(wrap("", 8), [""]);
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
