use std::fmt;

use trainyard_model::parse_number;

/// Where an expression goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Characters that make no token, or a token that may not stand there.
    Lexing,
    /// Tokens that make no expression, or names that are not known.
    Parsing,
}

/// An expression that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Which stage refused it.
    pub kind: ErrorKind,
    /// What is wrong, in GitHub's words.
    pub message: String,
    /// First byte of the place in the expression's text.
    pub offset: usize,
    /// How many bytes the offending text has.
    pub len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    StartGroup,
    EndGroup,
    StartParameters,
    EndParameters,
    StartIndex,
    EndIndex,
    Separator,
    Dereference,
    Wildcard,
    Operator(Operator),
    Null,
    Bool(bool),
    Number,
    String,
    Property,
    Context,
    Function,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) number: f64,
    pub(crate) text: String,
}

impl TokenKind {
    /// A token after which an operand is complete.
    fn ends_operand(self) -> bool {
        use TokenKind as T;
        matches!(
            self,
            T::EndGroup
                | T::EndParameters
                | T::EndIndex
                | T::Wildcard
                | T::Null
                | T::Bool(_)
                | T::Number
                | T::String
                | T::Property
                | T::Context
        )
    }

    /// A token that `.` or `[` may follow: groups, calls, contexts and what was taken from them,
    /// but no literals.
    fn indexable(self) -> bool {
        use TokenKind as T;
        self.ends_operand() && !matches!(self, T::Null | T::Bool(_) | T::Number | T::String)
    }
}

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    last: Option<TokenKind>,
    open: Vec<TokenKind>,
}

impl fmt::Debug for Lexer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lexer at {}", self.at)
    }
}

fn boundary(c: char) -> bool {
    matches!(c, '(' | '[' | ')' | ']' | ',' | '.' | '!' | '>' | '<' | '=' | '&' | '|')
        || c.is_whitespace()
}

pub(crate) fn is_keyword(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0, last: None, open: Vec::new() }
    }

    /// Whether a bracket is still open.
    pub(crate) fn unclosed(&self) -> bool {
        !self.open.is_empty()
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_while(&mut self, test: impl Fn(char) -> bool) {
        while let Some(c) = self.peek().filter(|c| test(*c)) {
            self.at += c.len_utf8();
        }
    }

    fn unexpected(&self, kind: ErrorKind, start: usize) -> SyntaxError {
        let raw = &self.text[start..self.at.max(start)];
        SyntaxError {
            kind,
            message: format!(
                "Unexpected symbol: '{raw}'. Located at position {} within expression: {}",
                position(self.text, start),
                self.text
            ),
            offset: start,
            len: raw.len(),
        }
    }

    /// An error, unless characters further on make no token: those are found first, as GitHub's
    /// packages read all tokens before any grammar.
    pub(crate) fn or_lexing(&mut self, error: SyntaxError) -> SyntaxError {
        loop {
            match self.raw() {
                Ok(None) => return error,
                Ok(Some(token)) => self.last = Some(token.kind),
                Err(lexing) => return lexing,
            }
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Token>, SyntaxError> {
        let Some(token) = self.raw()? else { return Ok(None) };
        if !self.legal(token.kind) || !self.balanced(token.kind) {
            let error = self.unexpected(ErrorKind::Parsing, token.start);
            self.last = Some(token.kind);
            return Err(self.or_lexing(error));
        }
        self.last = Some(token.kind);
        Ok(Some(token))
    }

    /// Keeps the stack of open brackets; false if a bracket or comma has no place in it.
    fn balanced(&mut self, kind: TokenKind) -> bool {
        use TokenKind as T;
        match kind {
            T::StartGroup | T::StartIndex | T::StartParameters => {
                self.open.push(kind);
                true
            }
            T::EndGroup => self.open.pop() == Some(T::StartGroup),
            T::EndIndex => self.open.pop() == Some(T::StartIndex),
            T::EndParameters => self.open.pop() == Some(T::StartParameters),
            T::Separator => self.open.last() == Some(&T::StartParameters),
            _ => true,
        }
    }

    fn raw(&mut self) -> Result<Option<Token>, SyntaxError> {
        self.take_while(char::is_whitespace);
        let start = self.at;
        let Some(c) = self.peek() else {
            return Ok(None);
        };
        self.at += c.len_utf8();
        let mut number = 0.0;
        let mut text = String::new();
        let kind = match c {
            '(' if self.last == Some(TokenKind::Function) => TokenKind::StartParameters,
            '(' => TokenKind::StartGroup,
            ')' if self.open.last() == Some(&TokenKind::StartParameters) => {
                TokenKind::EndParameters
            }
            ')' => TokenKind::EndGroup,
            '[' => TokenKind::StartIndex,
            ']' => TokenKind::EndIndex,
            ',' => TokenKind::Separator,
            '*' => TokenKind::Wildcard,
            '\'' => {
                text = self.string(start)?;
                TokenKind::String
            }
            '!' | '>' | '<' | '=' | '&' | '|' => TokenKind::Operator(self.operator(start)?),
            '.' if !self.number_may_start() => TokenKind::Dereference,
            '.' | '-' | '+' | '0'..='9' => {
                self.take_while(|c| !boundary(c) || c == '.');
                number = parse_number(&self.text[start..self.at]);
                if number.is_nan() {
                    return Err(self.unexpected(ErrorKind::Lexing, start));
                }
                TokenKind::Number
            }
            _ => {
                self.take_while(|c| !boundary(c));
                let word = &self.text[start..self.at];
                if !is_keyword(word) {
                    return Err(self.unexpected(ErrorKind::Lexing, start));
                }
                text = word.to_owned();
                self.keyword(word, &mut number)
            }
        };
        Ok(Some(Token { kind, start, end: self.at, number, text }))
    }

    /// A `.` begins a number where an operand may begin.
    fn number_may_start(&self) -> bool {
        use TokenKind as T;
        matches!(
            self.last,
            None | Some(
                T::Separator | T::StartGroup | T::StartIndex | T::StartParameters | T::Operator(_)
            )
        )
    }

    fn keyword(&self, word: &str, number: &mut f64) -> TokenKind {
        if self.last == Some(TokenKind::Dereference) {
            return TokenKind::Property;
        }
        match word {
            "null" => TokenKind::Null,
            "true" => TokenKind::Bool(true),
            "false" => TokenKind::Bool(false),
            "NaN" => {
                *number = f64::NAN;
                TokenKind::Number
            }
            "Infinity" => {
                *number = f64::INFINITY;
                TokenKind::Number
            }
            _ if self.text[self.at..].trim_start().starts_with('(') => TokenKind::Function,
            _ => TokenKind::Context,
        }
    }

    fn string(&mut self, start: usize) -> Result<String, SyntaxError> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == '\'' {
                if self.peek() != Some('\'') {
                    return Ok(text);
                }
                self.at += 1;
            }
            text.push(c);
        }
        Err(self.unexpected(ErrorKind::Lexing, start))
    }

    fn operator(&mut self, start: usize) -> Result<Operator, SyntaxError> {
        let two = self.text.get(start..start + 2).and_then(|raw| match raw {
            "!=" => Some(Operator::Ne),
            ">=" => Some(Operator::Ge),
            "<=" => Some(Operator::Le),
            "==" => Some(Operator::Eq),
            "&&" => Some(Operator::And),
            "||" => Some(Operator::Or),
            _ => None,
        });
        if let Some(operator) = two {
            self.at = start + 2;
            return Ok(operator);
        }
        match &self.text[start..=start] {
            "!" => Ok(Operator::Not),
            ">" => Ok(Operator::Gt),
            "<" => Ok(Operator::Lt),
            _ => {
                self.take_while(|c| !boundary(c));
                Err(self.unexpected(ErrorKind::Lexing, start))
            }
        }
    }

    /// Whether a token may follow the last one (`LexicalAnalyzer.CreateToken`).
    fn legal(&self, kind: TokenKind) -> bool {
        use TokenKind as T;
        let operand_ended = self.last.is_some_and(T::ends_operand);
        match kind {
            T::StartIndex | T::Dereference => self.last.is_some_and(T::indexable),
            T::StartParameters => self.last == Some(T::Function),
            T::EndParameters => operand_ended || self.last == Some(T::StartParameters),
            T::EndGroup | T::EndIndex | T::Separator => operand_ended,
            T::Wildcard => matches!(self.last, Some(T::StartIndex | T::Dereference)),
            T::Property => self.last == Some(T::Dereference),
            T::Operator(Operator::Not)
            | T::StartGroup
            | T::Null
            | T::Bool(_)
            | T::Number
            | T::String
            | T::Function
            | T::Context => self.number_may_start(),
            T::Operator(_) => operand_ended,
        }
    }
}

/// The position in characters, from 1, as GitHub's messages count.
pub(crate) fn position(text: &str, offset: usize) -> usize {
    text[..text.floor_char_boundary(offset)].chars().count() + 1
}
