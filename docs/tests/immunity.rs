//! What `docs/immunity.md` says is tested is tested.

use docs::{page::Page, repository::Repository};

const PAGE: &str = "docs/immunity.md";

#[test]
fn every_bug_of_the_page_has_tests_and_they_are_there() {
    let repository = Repository::open().expect("the repository");
    let text = repository.text(PAGE);
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && *line != "| bug | tests |");
    let mut violations = Vec::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        let named = Page::parse(row).spans;
        if named.is_empty() {
            violations.push(format!("{PAGE}: no test is named: {row}"));
        }
        let gone = named.iter().filter(|span| !is_test(&repository, &span.text));
        violations.extend(gone.map(|span| {
            format!(
                "{PAGE}: there is no test {}: mend the name, or bring the test back",
                span.text
            )
        }));
    }
    assert!(count >= 30, "{PAGE} has {count} rows, had more than 30");
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// `file::name` is a function with `#[test]` in that file; `file` alone a program of tests without a harness.
fn is_test(repository: &Repository, named: &str) -> bool {
    let Some((file, name)) = named.split_once("::") else {
        return repository.has(named) && repository.text(named).contains("libtest_mimic::run");
    };
    let text = repository.text(file);
    let found = text.split("#[test]").skip(1).any(|after| {
        let head = after.split('{').next().unwrap_or_default();
        head.contains(&format!("fn {name}("))
    });
    repository.has(file) && found
}
