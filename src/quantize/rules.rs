//! Formats of tensors by name.

use regex_automata::meta::Regex;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};

/// Gives the matrices whose names match a format.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As it was written.
    text: String,
    matcher: Matcher,
    dtype: DType,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// Anywhere in the name.
    Pattern(Box<Regex>),
    /// The whole name.
    Name,
}

impl Rule {
    /// A rule `REGEX=TYPE`. The regular expression may match anywhere in a tensor's name; `^` and `$` bind it.
    ///
    /// # Errors
    /// `InvalidArgument` for a rule without `=`, a bad expression, an unknown type.
    pub fn parse(text: &str) -> Result<Rule> {
        let Some((pattern, name)) = text.rsplit_once('=') else {
            bail!(InvalidArgument, "rule {text:?} is not of the form REGEX=TYPE");
        };
        let Some(dtype) = DType::from_name(name.trim()) else {
            bail!(InvalidArgument, "rule {text:?}: {:?} is not a tensor type", name.trim());
        };
        let regex = Regex::new(pattern).map_err(|e| {
            // Why it is wrong is in the cause.
            let cause = e.syntax_error().map_or(e.to_string(), ToString::to_string);
            Error::new(ErrorKind::InvalidArgument, format!("rule {text:?}: {cause}"))
        })?;
        Ok(Rule { text: text.to_owned(), matcher: Matcher::Pattern(Box::new(regex)), dtype })
    }

    /// A rule for the tensor of exactly this name.
    pub fn exact(name: &str, dtype: DType) -> Rule {
        Rule { text: name.to_owned(), matcher: Matcher::Name, dtype }
    }

    /// Whether it is about a tensor.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Pattern(regex) => regex.is_match(name),
            Matcher::Name => self.text == name,
        }
    }

    /// The format that it gives.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The rule as it was written, or the name.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_anywhere_and_the_last_equals_sign_divides() {
        let rule = Rule::parse("blk\\.[01]\\.ffn_(up|gate)=q6_k").unwrap();
        assert!(rule.matches("blk.1.ffn_up.weight") && !rule.matches("blk.2.ffn_up.weight"));
        assert_eq!(rule.dtype(), DType::Q6_K);
        assert!(Rule::parse("^x$=F16").unwrap().matches("x") && !Rule::parse("^x$=F16").unwrap().matches("xy"));
        assert!(Rule::parse("a=b=Q8_0").unwrap().matches("1a=b2"));
        assert!(Rule::exact("a.c", DType::F16).matches("a.c") && !Rule::exact("a.c", DType::F16).matches("abc"));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, what) in [("Q4_K", "REGEX=TYPE"), ("a=Q9", "\"Q9\" is not"), ("(a=Q4_K", "unclosed group")] {
            let error = Rule::parse(text).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(text), "{error}");
        }
    }
}
