//! Pages in Markdown, read as far as the rules need it: what they name, show and link to.

/// Something on a page, with the number of its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The line's number.
    pub line: usize,
    /// The text: of a code span without its quotes, of a link its target, of a block's line all of it.
    pub text: String,
}

/// What is on a page.
#[derive(Debug, Default)]
pub struct Page {
    /// `code spans` outside of blocks.
    pub spans: Vec<Found>,
    /// Lines of fenced blocks.
    pub block_lines: Vec<Found>,
    /// The language tags of fenced blocks.
    pub languages: Vec<Found>,
    /// Targets of links and pictures.
    pub links: Vec<Found>,
    /// The anchors that its headings make.
    pub anchors: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut in_block = false;
        for (line, words) in (1..).zip(text.lines()) {
            if let Some(language) = words.trim_start().strip_prefix("```") {
                in_block = !in_block;
                if in_block {
                    page.languages.push(Found {
                        line,
                        text: language.trim().into(),
                    });
                }
            } else if in_block {
                page.block_lines.push(Found {
                    line,
                    text: words.into(),
                });
            } else {
                page.read_line(line, words);
            }
        }
        page
    }

    fn read_line(&mut self, line: usize, words: &str) {
        if words.starts_with('#') {
            self.anchors.push(anchor(words.trim_start_matches('#')));
        }
        let mut outside = String::new();
        for (number, part) in words.split('`').enumerate() {
            if number % 2 == 1 {
                self.spans.push(Found {
                    line,
                    text: part.into(),
                });
            } else {
                outside += part;
            }
        }
        for (at, _) in outside.match_indices("](") {
            let target = &outside[at + 2..];
            if let Some(end) = target.find(')') {
                self.links.push(Found {
                    line,
                    text: target[..end].into(),
                });
            }
        }
    }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# How, and `why`\nSee [`a.rs`](src/a.rs) and `b`.\n```text\n./x demo\n```\nend";

    #[test]
    fn spans_blocks_links_and_headings_are_told_apart() {
        let page = Page::parse(PAGE);
        let texts = |found: &[Found]| found.iter().map(|f| (f.line, f.text.clone())).collect::<Vec<_>>();
        assert_eq!(
            texts(&page.spans),
            [(1, "why".into()), (2, "a.rs".into()), (2, "b".into())]
        );
        assert_eq!(texts(&page.block_lines), [(4, "./x demo".into())]);
        assert_eq!(texts(&page.languages), [(3, "text".into())]);
        assert_eq!(texts(&page.links), [(2, "src/a.rs".into())]);
        assert_eq!(page.anchors, ["how-and-why"]);
    }
}
