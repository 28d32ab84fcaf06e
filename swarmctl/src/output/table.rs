//! Tables: aligned columns without lines, easy to read on a terminal and to process with `awk`.
//! Widths are computed without colours.

use super::{Paint, Tone};

/// Space between columns.
const GAP: &str = "  ";

/// A table under construction.
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
    /// A cell with a tone.
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
    /// A table with these headings.
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), ..Self::default() }
    }

    /// Indents every row.
    pub fn indented(self, indent: &'static str) -> Self {
        Self { indent, ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Formats the table, with a newline at the end of each row.
    pub fn render(&self, paint: Paint) -> String {
        let heads: Vec<Cell> = self.heads.iter().map(|head| Cell::toned(Tone::Dim, head)).collect();
        let widths: Vec<usize> = (0..self.heads.len())
            .map(|column| {
                let of = |row: &Vec<Cell>| row.get(column).map_or(0, |cell| cell.text.chars().count());
                self.rows.iter().map(of).chain([of(&heads)]).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::from(self.indent);
            for (column, cell) in row.iter().enumerate() {
                line.push_str(&paint.tone(cell.tone, &cell.text));
                let rest_is_empty = row.iter().skip(column + 1).all(|cell| cell.text.is_empty());
                if rest_is_empty {
                    break;
                }
                let width = widths.get(column).copied().unwrap_or(0);
                line.push_str(&" ".repeat(width.saturating_sub(cell.text.chars().count())));
                line.push_str(GAP);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
