//! Rewrites the source of a template before it is compiled, so that everything it writes and folds can be metered:
//!
//! 1. Plain text becomes an expression, `{{ "text" }}`, because the engine reports the writing of expressions only.
//! 2. After every `*` comes a factor of one in a variable, because the engine computes products of constants when it compiles.
//! 3. The tags `generation` and `endgeneration`, which the engine does not know, are left out.
//! 4. Nesting that the parser would build by recursion is limited: operators in one tag, and chains of `elif`.
//!
//! Line numbers stay as they are: the line ends that disappear are put back inside tags.

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

use super::meter::invalid;

/// The name of the variable that is one.
pub(super) const ONE: &str = "__one";
/// Operators, brackets and separators in one tag: chains of them are nested as deep, for which the sandbox has the stack.
const MAX_OPERATORS: usize = 4096;
/// `elif` in the whole template.
const MAX_ELIF: usize = 400;

/// The rewritten source. Errors: what the lexer refuses, and the limits.
pub(super) fn rewrite(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    let mut writer = Writer { source, out: String::with_capacity(source.len() * 2), line: 1, n_operators: 0 };
    let mut n_elif = 0;
    let mut before_is_open = false;
    let mut tokens = tokenize(source, false, syntax.clone()).peekable();
    while let Some(token) = tokens.next() {
        let (token, span) = token?;
        match &token {
            // Marks what a model is trained on; without meaning for a prompt.
            Token::BlockStart
                if matches!(tokens.peek(), Some(Ok((Token::Ident("generation" | "endgeneration"), _)))) =>
            {
                for token in tokens.by_ref() {
                    if matches!(token?.0, Token::BlockEnd) {
                        break;
                    }
                }
            }
            Token::TemplateData(text) => writer.text(text),
            Token::VariableStart => writer.open("{{"),
            Token::BlockStart => writer.open("{%"),
            Token::VariableEnd => writer.out.push_str("}}"),
            Token::BlockEnd => writer.out.push_str("%}"),
            // After an opening bracket or a comma it is no product.
            Token::Mul if !before_is_open => {
                writer.copy(&token, span)?;
                writer.out.push_str(ONE);
                writer.out.push_str(" * ");
            }
            Token::Ident("elif") => {
                n_elif += 1;
                if n_elif > MAX_ELIF {
                    return Err(at(span, format!("more than {MAX_ELIF} elif")));
                }
                writer.copy(&token, span)?;
            }
            _ => writer.copy(&token, span)?,
        }
        before_is_open = matches!(token, Token::ParenOpen | Token::BracketOpen | Token::BraceOpen | Token::Comma);
    }
    Ok(writer.out)
}

struct Writer<'a> {
    source: &'a str,
    out: String,
    /// The line at the end of `out`.
    line: usize,
    /// In the tag that is open.
    n_operators: usize,
}

impl Writer<'_> {
    fn open(&mut self, delimiter: &str) {
        self.out.push_str(delimiter);
        self.out.push(' ');
        self.n_operators = 0;
    }

    fn text(&mut self, text: &str) {
        self.out.push_str("{{ \"");
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                self.out.push('\\');
            }
            self.line += usize::from(c == '\n');
            self.out.push(c);
        }
        self.out.push_str("\" }}");
    }

    /// Copies a token of an expression, on its own line.
    fn copy(&mut self, token: &Token<'_>, span: Span) -> Result<(), Error> {
        let Some(text) = self.source.get(span.start_offset as usize..span.end_offset as usize) else {
            return Err(at(span, "a token outside the source"));
        };
        let is_operand = matches!(
            token,
            Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) | Token::Ident(_)
        );
        let is_word_operator = matches!(token, Token::Ident("and" | "or" | "not" | "in" | "is" | "if" | "else"));
        self.n_operators += usize::from(!is_operand || is_word_operator);
        if self.n_operators > MAX_OPERATORS {
            return Err(at(span, "too many operators in one expression"));
        }
        while self.line < usize::from(span.start_line) {
            self.out.push('\n');
            self.line += 1;
        }
        self.line += text.matches('\n').count();
        self.out.push_str(text);
        self.out.push(' ');
        Ok(())
    }
}

fn at(span: Span, message: impl std::fmt::Display) -> Error {
    invalid(format!("{message} (line {})", span.start_line))
}

/// The engine counts lines and columns in 16 bits.
pub(super) fn check_lines(source: &str) -> Result<(), Error> {
    let limit = usize::from(u16::MAX);
    let longest = source.lines().map(str::len).max().unwrap_or(0);
    if longest >= limit || source.lines().count() >= limit {
        return Err(invalid(format!("the template has a line of {limit} bytes or as many lines")));
    }
    Ok(())
}

/// The error of a template that is too long for the sandbox to look at.
pub(super) fn too_long(limit: usize) -> Error {
    Error::new(ErrorKind::SyntaxError, format!("the template is longer than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_an_expression_and_lines_stay() {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap();
        let source = "a \"b\"\\\n  {% if x %}\n{# note\n #}c{% endif %}\n{{ 2 * y }}";
        assert_eq!(
            rewrite(source, &syntax).unwrap(),
            "{{ \"a \\\"b\\\"\\\\\n\" }}{% if x %}{{ \"c\" }}{% \n\nendif %}{{ \n2 * __one * y }}"
        );
    }

    #[test]
    fn nesting_is_limited() {
        let syntax = SyntaxConfig::default();
        for source in [
            format!("{{{{ a{} }}}}", ".a".repeat(5000)),
            format!("{{{{ {}a }}}}", "not ".repeat(5000)),
            format!("{{{{ a{} }}}}", "+a".repeat(5000)),
            format!("{{{{ a{} }}}}", "|e".repeat(5000)),
            format!("{{{{ {}a }}}}", "[".repeat(5000)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(5000)),
        ] {
            assert!(rewrite(&source, &syntax).is_err(), "{}", &source[..20]);
        }
    }
}
