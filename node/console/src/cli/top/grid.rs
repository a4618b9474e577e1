//! Lines in columns for a screen of a given width: what matters least is left out first, and what is too long is cut.

use ratatui::style::Style;
use ratatui::text::Line;

use grapevine_base::table::{Side, cut, fit};

/// Blanks between columns.
const GAP: usize = 2;

/// The least that is left of a cell that is cut.
const CUT_MIN: usize = 6;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) side: Side,
    /// The width of the screen from which on it is shown.
    pub(super) from: usize,
    /// How short its cells may be cut where room is short; `None` is not at all.
    pub(super) least: Option<usize>,
}

impl Column {
    /// The same, cut no shorter than that.
    pub(super) const fn kept(self, least: usize) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }
}

/// A column of words, shown on screens of `from` columns and more.
pub(super) const fn words(title: &'static str, from: usize) -> Column {
    Column {
        title,
        side: Side::Left,
        from,
        least: Some(CUT_MIN),
    }
}

/// A column of short words that are never cut.
pub(super) const fn word(title: &'static str, from: usize) -> Column {
    Column {
        title,
        side: Side::Left,
        from,
        least: None,
    }
}

/// A column of numbers.
pub(super) const fn number(title: &'static str, from: usize) -> Column {
    Column {
        title,
        side: Side::Right,
        from,
        least: None,
    }
}

/// A line of cells, one for each column.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) style: Style,
}

/// The heading and the rows, as lines of at most `width` characters.
pub(super) fn lines(
    columns: &[Column],
    rows: &[Row],
    width: usize,
    heading: Style,
) -> Vec<Line<'static>> {
    let shown: Vec<usize> = (0..columns.len())
        .filter(|index| columns[*index].from <= width)
        .collect();
    let titles: Vec<String> = columns
        .iter()
        .map(|column| column.title.to_owned())
        .collect();
    let natural = shown.iter().map(|index| {
        let cells = rows
            .iter()
            .filter_map(|row| row.cells.get(*index))
            .chain(titles.get(*index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut widths: Vec<usize> = natural.collect();
    let least: Vec<Option<usize>> = shown.iter().map(|index| columns[*index].least).collect();
    fit(&mut widths, &least, width);
    let line = |cells: &[String], style: Style| {
        let mut text = String::new();
        for (place, (index, width)) in shown.iter().zip(&widths).enumerate() {
            if place > 0 {
                text.push_str(&" ".repeat(GAP));
            }
            let cell = cut(cells.get(*index).map_or("", String::as_str), *width);
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            match columns[*index].side {
                Side::Left => text.extend([cell, blanks]),
                Side::Right => text.extend([blanks, cell]),
            }
        }
        Line::styled(text, style)
    };
    let rows = rows.iter().map(|row| line(&row.cells, row.style));
    std::iter::once(line(&titles, heading))
        .chain(rows)
        .collect()
}
