//! The screen: what it shows, and the keys that change it.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use spoa_runtime::text::Escaped;

use super::layout::{GAP, pad, visible, width, widths};
use crate::status::{Status, Table, Tone};

/// The state of the screen.
pub(super) struct Screen {
    agent: String,
    status: Status,
    /// The reason why the status is old.
    error: Option<String>,
    /// The title of the table that is shown; a table may be missing in a later status.
    title: String,
    /// The first row of the table that is shown, and the number of columns that are skipped after the first one.
    row: usize,
    skipped: usize,
    /// The number of rows that fit.
    page: usize,
}

/// The consequence of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

const KEYS: &str = "q quit   Tab or 1-9 table   ↑ ↓ PgUp PgDn rows   ← → columns";

impl Screen {
    pub(super) fn new(agent: String, status: Status) -> Self {
        let title = status.tables.first().map_or_else(String::new, |table| table.title.clone());
        Self { agent, status, error: None, title, row: 0, skipped: 0, page: 1 }
    }

    /// Takes a new status, or the reason why there is none.
    pub(super) fn update(&mut self, status: Result<Status, String>) {
        match status {
            Ok(status) => (self.status, self.error) = (status, None),
            Err(error) => self.error = Some(error),
        }
    }

    /// Handles a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('c') if is_control => return Next::Quit,
            KeyCode::Tab => self.select((self.at() + 1) % self.tables()),
            KeyCode::BackTab => self.select((self.at() + self.tables() - 1) % self.tables()),
            KeyCode::Char(digit @ '1'..='9') => self.select(digit as usize - '1' as usize),
            KeyCode::Down | KeyCode::Char('j') => self.row = self.row.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.row = self.row.saturating_sub(1),
            KeyCode::PageDown => self.row = self.row.saturating_add(self.page),
            KeyCode::PageUp => self.row = self.row.saturating_sub(self.page),
            KeyCode::Home => (self.row, self.skipped) = (0, 0),
            KeyCode::End => self.row = usize::MAX,
            KeyCode::Right | KeyCode::Char('l') => self.skipped += 1,
            KeyCode::Left | KeyCode::Char('h') => self.skipped = self.skipped.saturating_sub(1),
            _ => {}
        }
        Next::Go
    }

    /// Returns the number of tables; 1 if there are none.
    fn tables(&self) -> usize {
        self.status.tables.len().max(1)
    }

    /// Returns the index of the table that is shown; the first one if the table is missing.
    fn at(&self) -> usize {
        self.status.tables.iter().position(|table| table.title == self.title).unwrap_or_default()
    }

    fn select(&mut self, at: usize) {
        if let Some(table) = self.status.tables.get(at) {
            self.title.clone_from(&table.title);
            (self.row, self.skipped) = (0, 0);
        }
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let numbers = numbers(&self.status.numbers, area.width);
        let warnings = self.warnings();
        // A line that is wrapped is short by less than a word.
        let words = usize::from(area.width.saturating_sub(15).max(1));
        let warned = warnings.iter().map(|line| line.width().div_ceil(words)).sum::<usize>();
        let warned = u16::try_from(warned).unwrap_or(u16::MAX).min(area.height / 3);
        let warnings = Paragraph::new(warnings).wrap(Wrap { trim: true });
        let [head, warned, counted, tabs, table, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(warned),
            Constraint::Length(u16::try_from(numbers.len()).unwrap_or(u16::MAX).saturating_add(1)),
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(), head);
        frame.render_widget(warnings, warned);
        frame.render_widget(Paragraph::new(numbers), counted);
        frame.render_widget(self.tabs(), tabs);
        if let Some(rows) = self.table(table) {
            frame.render_widget(Paragraph::new(rows), table);
        }
        frame.render_widget(Line::raw(KEYS).dim(), keys);
    }

    fn head(&self) -> Line<'_> {
        let color = match self.status.tone {
            Tone::Good => Color::Green,
            Tone::Warn => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        let state = match &self.error {
            Some(error) => Span::styled(format!("no numbers, those below are old: {}", Escaped(error)), Color::Red),
            None => Span::styled(&*self.status.state, Style::new().fg(color).bold()),
        };
        let about = format!("   {} at {}", self.status.about, self.agent);
        Line::from(vec!["spoa  ".bold(), state, Span::raw(about)])
    }

    fn warnings(&self) -> Vec<Line<'_>> {
        self.status.warnings.iter().map(|warning| Line::styled(format!("! {warning}"), Color::Yellow)).collect()
    }

    fn tabs(&self) -> Line<'_> {
        let shown = self.at();
        let tabs = self.status.tables.iter().enumerate().flat_map(|(at, table)| {
            let text = Span::raw(format!(" {} {} ", at + 1, table.title));
            [if at == shown { text.reversed() } else { text }, Span::raw(" ")]
        });
        tabs.collect()
    }

    /// Returns the head and the rows of the table that fit, and limits how far it is scrolled.
    fn table(&mut self, area: Rect) -> Option<Vec<Line<'static>>> {
        let (height, space) = (usize::from(area.height), usize::from(area.width));
        let at = self.at();
        let Table { columns, rows, .. } = self.status.tables.get(at)?;
        self.page = height.saturating_sub(1).max(1);
        self.row = self.row.min(rows.len().saturating_sub(self.page));
        let widths = widths(&self.status.tables[at]);
        self.skipped = self.skipped.min(columns.len().saturating_sub(2));
        let shown = visible(&widths, self.skipped, space);
        let cell = |text: &str, column: usize| pad(text, widths[column], columns[column].is_text);
        let head = shown.iter().map(|column| cell(&columns[*column].name, *column)).collect::<Vec<_>>();
        let row = |row: &Vec<String>| {
            let cells = shown.iter().map(|column| cell(row.get(*column).map_or("", |text| text), *column));
            Line::raw(cells.collect::<Vec<_>>().join(&" ".repeat(GAP)))
        };
        let head = Line::raw(head.join(&" ".repeat(GAP))).bold();
        Some([head].into_iter().chain(rows.iter().skip(self.row).take(self.page).map(row)).collect())
    }
}

/// Returns the numbers with their names in as many columns as fit into `space`.
fn numbers(numbers: &[(String, String)], space: u16) -> Vec<Line<'static>> {
    let name = numbers.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
    let value = numbers.iter().map(|(_, value)| width(value)).max().unwrap_or_default();
    let columns = (usize::from(space) / (name + value + 2 * GAP)).max(1);
    let lines = numbers.len().div_ceil(columns);
    let cell = |(text, number): &(String, String)| {
        [Span::raw(pad(text, name + GAP, true)).dim(), Span::raw(pad(number, value + GAP, true))]
    };
    (0..lines).map(|line| numbers.iter().skip(line).step_by(lines).flat_map(cell).collect()).collect()
}
