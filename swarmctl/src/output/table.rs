//! Tables: aligned columns without lines, easy to read on a terminal and to process with `awk`. Widths are
//! computed without colours. On a terminal, a table is not wider than the terminal: the widest columns are
//! cut with an ellipsis.

use super::{Paint, Tone};
use std::borrow::Cow;

const GAP: &str = "  ";

/// The minimum width to which a column is cut, however narrow the terminal is.
const LEAST: usize = 8;

#[derive(Debug, Default)]
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    indent: &'static str,
}

/// A cell. Its text must already be safe to print.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn toned(tone: Tone, text: impl ToString) -> Self {
        Self { text: text.to_string(), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Table {
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), ..Self::default() }
    }

    pub fn indented(self, indent: &'static str) -> Self {
        Self { indent, ..self }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds columns at the end, for `-o wide`.
    pub fn widen(&mut self, heads: &[&'static str]) {
        self.heads.extend(heads);
    }

    /// Formats the table, with a newline at the end of each row.
    pub fn render(&self, paint: Paint) -> String {
        let heads: Vec<Cell> = self.heads.iter().map(|head| Cell::toned(Tone::Dim, head)).collect();
        let mut widths: Vec<usize> = (0..self.heads.len())
            .map(|column| {
                let of = |row: &Vec<Cell>| row.get(column).map_or(0, |cell| cell.text.chars().count());
                self.rows.iter().map(of).chain([of(&heads)]).max().unwrap_or(0)
            })
            .collect();
        if let Some(width) = paint.width {
            let gaps = self.indent.len() + GAP.len() * self.heads.len().saturating_sub(1);
            fit(&mut widths, width.saturating_sub(gaps));
        }
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::from(self.indent);
            for (column, cell) in row.iter().enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                let text = cut(&cell.text, width);
                line.push_str(&paint.tone(cell.tone, &text));
                let rest_is_empty = row.iter().skip(column + 1).all(|cell| cell.text.is_empty());
                if rest_is_empty {
                    break;
                }
                line.push_str(&" ".repeat(width.saturating_sub(text.chars().count())));
                line.push_str(GAP);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Narrows the widest columns until all together fit into `room`, or none is wider than [`LEAST`].
fn fit(widths: &mut [usize], room: usize) {
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max().filter(|widest| **widest > LEAST) {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
}

/// `text`, cut with an ellipsis if it is wider than `width`.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_no_wider_than_the_terminal_and_whole_without_one() {
        let mut table = Table::new(&["ID", "PACKAGE", "WHY"]).indented("  ");
        let why = "waiting for one of the drones that can build it, in about 31 s";
        table.row(["p12".into(), "app-misc/something-1.0".into(), why.into()]);
        let narrow = table.render(Paint::new(true).within(Some(40)));
        let widest = narrow.lines().skip(1).map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(40), "{narrow}");
        assert!(narrow.contains("p12") && narrow.contains('…'), "{narrow}");
        assert!(table.render(Paint::new(false)).contains(why));
        let tiny = table.render(Paint::new(false).within(Some(1)));
        assert!(tiny.contains("p12  app-mis…  waiting…"), "{tiny}");
    }

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let mut table = Table::new(&["NAME", "STATE", "WHY"]);
        table.row(["oak".into(), Cell::toned(Tone::Good, "online"), "".into()]);
        table.row(["sequoia".into(), Cell::toned(Tone::Bad, "lost"), "no answer".into()]);
        let plain = "NAME     STATE   WHY\noak      online\nsequoia  lost    no answer\n";
        assert_eq!(table.render(Paint::new(false)), plain);
        let coloured = table.render(Paint::new(true));
        assert!(coloured.contains("\x1b[32monline\x1b[0m"), "{coloured:?}");
    }
}
