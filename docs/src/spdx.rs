//! Licence expressions, as SPDX 3.0 annex B defines them: `OR` binds weaker than `AND`, `AND` weaker than `WITH`.
//!
//! Cargo's old form `MIT/Apache-2.0` means `OR`.

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// A licence, with its exception if there is one: `Apache-2.0 WITH LLVM-exception`.
    Licence(String),
    /// All of them bind.
    And(Vec<Expression>),
    /// One of them may be chosen.
    Or(Vec<Expression>),
}

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words: Vec<&str> = spaced.split_whitespace().collect();
        words.reverse();
        let expression = any(&mut words)?;
        match words.pop() {
            None => Ok(expression),
            Some(word) => Err(format!("{word:?} where the end was expected")),
        }
    }

    /// Whether one can use what is so licensed when only `allowed` licences are.
    pub fn satisfied_by(&self, allowed: &[String]) -> bool {
        match self {
            Self::Licence(name) => allowed.contains(name),
            Self::And(all) => all.iter().all(|one| one.satisfied_by(allowed)),
            Self::Or(any) => any.iter().any(|one| one.satisfied_by(allowed)),
        }
    }
}

fn any(words: &mut Vec<&str>) -> Result<Expression, String> {
    let mut choices = vec![all(words)?];
    while take(words, "OR") {
        choices.push(all(words)?);
    }
    Ok(if choices.len() == 1 {
        choices.remove(0)
    } else {
        Expression::Or(choices)
    })
}

fn all(words: &mut Vec<&str>) -> Result<Expression, String> {
    let mut parts = vec![one(words)?];
    while take(words, "AND") {
        parts.push(one(words)?);
    }
    Ok(if parts.len() == 1 {
        parts.remove(0)
    } else {
        Expression::And(parts)
    })
}

fn one(words: &mut Vec<&str>) -> Result<Expression, String> {
    match words.pop() {
        Some("(") => {
            let inside = any(words)?;
            if take(words, ")") {
                Ok(inside)
            } else {
                Err("a parenthesis that is not closed".into())
            }
        }
        Some(word) if !matches!(word, "AND" | "OR" | "WITH" | ")") => {
            if !take(words, "WITH") {
                return Ok(Expression::Licence(word.into()));
            }
            let exception = words.pop().ok_or("WITH without an exception")?;
            Ok(Expression::Licence(format!("{word} WITH {exception}")))
        }
        other => Err(format!(
            "{:?} where a licence was expected",
            other.unwrap_or("the end")
        )),
    }
}

fn take(words: &mut Vec<&str>, wanted: &str) -> bool {
    let there = words.last() == Some(&wanted);
    if there {
        words.pop();
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, allowed: &[&str], expected: bool) {
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).into()).collect();
        assert_eq!(
            Expression::parse(text).unwrap().satisfied_by(&allowed),
            expected,
            "{text} with {allowed:?}"
        );
    }

    #[test]
    fn or_is_a_choice_and_and_binds_both() {
        check("MIT OR Apache-2.0", &["MIT"], true);
        check("MIT/Apache-2.0", &["Apache-2.0"], true);
        check("Apache-2.0 AND ISC", &["Apache-2.0"], false);
        check("Apache-2.0 AND ISC", &["Apache-2.0", "ISC"], true);
    }

    #[test]
    fn and_binds_tighter_than_or_unless_parentheses_say_otherwise() {
        check("A OR B AND C", &["A"], true);
        check("(A OR B) AND C", &["A"], false);
        check("(A OR B) AND C", &["B", "C"], true);
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        check("Apache-2.0 WITH LLVM-exception", &["Apache-2.0"], false);
        check("Apache-2.0 WITH LLVM-exception OR MIT", &["MIT"], true);
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "MIT OR",
            "MIT Apache-2.0",
            "(MIT",
            "MIT)",
            "AND MIT",
            "MIT WITH",
        ] {
            assert!(Expression::parse(text).is_err(), "{text:?}");
        }
    }
}
