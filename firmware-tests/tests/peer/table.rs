//! How all the conversations went, at a glance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use tdisp::spdm::msg::Version;

use crate::case::{Case, Form};

/// A row a form, a column a version; a cell stands for every transport and suite.
#[derive(Clone)]
pub(crate) struct Table {
    title: String,
    cells: Arc<Mutex<BTreeMap<Cell, &'static str>>>,
}

/// The form's place in its list, its name, and the version.
type Cell = (usize, &'static str, Version);

const VERSIONS: [Version; 4] = [Version::V1_0, Version::V1_1, Version::V1_2, Version::V1_3];

impl Table {
    pub(crate) fn new(title: String) -> Self {
        Self {
            title,
            cells: Arc::default(),
        }
    }

    /// A test for each cell, which notes how it ended.
    pub(crate) fn tests(&self, forms: &'static [Form], run: fn(Case)) -> Vec<Trial> {
        let mut tests = Vec::new();
        for (row, form) in forms.iter().enumerate() {
            for version in VERSIONS.into_iter().filter(|version| *version >= form.since) {
                let (table, cell) = (self.clone(), (row, form.name, version));
                let name = format!("{}, 1.{}: {}", self.title, version.0 & 0xf, form.name);
                tests.push(crate::test(&name, move || {
                    table.note(cell, "FAILED"); // what it is if the test panics
                    Case::all(version, *form).for_each(run);
                    table.note(cell, "ok");
                }));
            }
        }
        tests
    }

    fn note(&self, cell: Cell, how: &'static str) {
        self.cells.lock().unwrap().insert(cell, how);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.lock().unwrap();
        if cells.is_empty() {
            return Ok(());
        }
        writeln!(f, "{:<62} 1.0    1.1    1.2    1.3", self.title)?;
        let mut rows: Vec<_> = cells.keys().map(|(row, name, _)| (*row, *name)).collect();
        rows.dedup();
        for (row, name) in rows {
            let cell = |version| cells.get(&(row, name, version)).copied().unwrap_or("-");
            let [a, b, c, d] = VERSIONS.map(cell);
            writeln!(f, "  {name:<60} {a:<6} {b:<6} {c:<6} {d}")?;
        }
        writeln!(f, "  (each over DOE and MCTP, in every suite of its row)\n")
    }
}
