//! Rust sources, read as far as the rules need it: what is code, and which words it has.

/// The code of `source`: comments, strings and character literals are blanked, lines stay where they are.
pub fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, out.chars().next_back());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    out
}

/// `source` up to its unit tests, which by convention are the last thing in a file.
pub fn before_tests(source: &str) -> &str {
    source.find("#[cfg(test)]").map_or(source, |at| &source[..at])
}

/// The lines of `code`, from 1, that have `word` as a word of its own.
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    (1..)
        .zip(code.lines())
        .filter(|(_, line)| has_word(line, word))
        .map(|(number, _)| number)
        .collect()
}

/// Whether `line` has `word` with no letter, digit or underscore right before or after it.
pub fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part_of_word);
        let after = line[at + word.len()..].chars().next().is_some_and(part_of_word);
        // A word that itself ends in punctuation (`todo!`) ends there.
        !(before || after && word.ends_with(part_of_word))
    })
}

/// How many bytes at the start of `text` are a comment, string or character literal.
fn skipped(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let (Some(length), false) = (raw_string(text), in_word) {
        return length;
    }
    if let Some(inside) = text.strip_prefix('"') {
        return 1 + closing_quote(inside, '"');
    }
    character(text)
}

/// `r"…"`, `r#"…"#` and so on, also with a `b` before.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - inside.len();
    Some(
        inside
            .find(&close)
            .map_or(text.len(), |end| start + end + close.len()),
    )
}

fn closing_quote(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal; a lifetime (`'a`) is none.
fn character(text: &str) -> usize {
    let Some(inside) = text.strip_prefix('\'') else {
        return 0;
    };
    let mut characters = inside.chars();
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => 1 + closing_quote(inside, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let words: Vec<String> = code(source).split_whitespace().map(String::from).collect();
        assert_eq!(words.join(" "), expected, "{source}");
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        check("a // unsafe\nb", "a b");
        check("a /* unsafe\n */ b", "a b");
        check(r#"a("x \" unsafe", b)"#, "a( , b)");
        check("a(r#\"x \" unsafe\"#, b)", "a( , b)");
        check(r"match c { '\'' => 'x', '\\' => b }", "match c { => , => b }");
    }

    #[test]
    fn a_lifetime_is_code() {
        check("fn a<'a>(b: &'a str) {}", "fn a<'a>(b: &'a str) {}");
    }

    #[test]
    fn a_name_that_ends_in_r_does_not_begin_a_raw_string() {
        check(r#"bar"text" b"#, "bar b");
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines_with("unsafe_code\nunsafe {\n", "unsafe"), [2]);
        assert_eq!(lines_with("a\ntodo!()\nmy_todo!()", "todo!"), [2]);
    }
}
