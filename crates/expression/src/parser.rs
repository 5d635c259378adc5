use std::sync::Arc;

use trainyard_model::Value;

use crate::ast::{CompareOp, Expr, ExprKind};
use crate::functions::well_known;
use crate::lexer::{ErrorKind, Lexer, Operator, SyntaxError, Token, TokenKind, position};
use crate::scope::Scope;

/// Nesting of the tree; chains of `&&` or `||` count once (`ExpressionConstants.MaxDepth`).
pub const MAX_DEPTH: usize = 50;
/// Characters of an expression (`ExpressionConstants.MaxLength`).
pub const MAX_LENGTH: usize = 21_000;

/// Parses an expression without asking whether its names are known. Blank text gives `None`.
pub fn parse(text: &str) -> Result<Option<Expr>, SyntaxError> {
    Parser::new(text, None).run()
}

/// Parses an expression that may use the contexts and functions of `scope` only.
pub fn parse_in(text: &str, scope: &Scope) -> Result<Option<Expr>, SyntaxError> {
    Parser::new(text, Some(scope)).run()
}

/// An operand with the depth of its tree.
struct Operand {
    expr: Expr,
    depth: usize,
}

/// What waits on the stack of operators. A shunting yard rather than recursion: thousands of
/// nested groups are legal, as groups make no node.
struct Pending {
    kind: TokenKind,
    start: usize,
    end: usize,
    /// Length of the operand stack when a `(` of a call was met.
    operands: usize,
    name: Arc<str>,
}

struct Parser<'a> {
    text: &'a str,
    scope: Option<&'a Scope>,
    lexer: Lexer<'a>,
    operands: Vec<Operand>,
    operators: Vec<Pending>,
}

fn precedence(kind: TokenKind) -> u8 {
    match kind {
        TokenKind::Dereference => 20,
        TokenKind::Operator(op) => match op {
            Operator::Not => 16,
            Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => 11,
            Operator::Eq | Operator::Ne => 10,
            Operator::And => 6,
            Operator::Or => 5,
        },
        _ => 0,
    }
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, scope: Option<&'a Scope>) -> Self {
        Parser { text, scope, lexer: Lexer::new(text), operands: Vec::new(), operators: Vec::new() }
    }

    fn error(&self, start: usize, end: usize, what: &str) -> SyntaxError {
        SyntaxError {
            kind: ErrorKind::Parsing,
            message: format!(
                "{what}: '{}'. Located at position {} within expression: {}",
                &self.text[start..end],
                position(self.text, start),
                self.text
            ),
            offset: start,
            len: end - start,
        }
    }

    fn limit(&self, message: String) -> SyntaxError {
        SyntaxError { kind: ErrorKind::Parsing, message, offset: 0, len: self.text.len() }
    }

    fn run(mut self) -> Result<Option<Expr>, SyntaxError> {
        if self.text.len() > MAX_LENGTH && self.text.encode_utf16().count() > MAX_LENGTH {
            return Err(self.limit(format!("Exceeded max expression length {MAX_LENGTH}")));
        }
        let mut last: Option<Token> = None;
        while let Some(token) = self.lexer.next()? {
            if let Err(error) = self.push(&token, last.as_ref()) {
                return Err(self.lexer.or_lexing(error));
            }
            last = Some(token);
        }
        let Some(last) = last else { return Ok(None) };
        let dangling = matches!(
            last.kind,
            TokenKind::Function
                | TokenKind::Operator(_)
                | TokenKind::Dereference
                | TokenKind::Separator
                | TokenKind::StartGroup
                | TokenKind::StartIndex
                | TokenKind::StartParameters
        );
        if dangling || self.lexer.unclosed() {
            return Err(self.error(last.start, last.end, "Unexpected end of expression"));
        }
        self.flush_while(|_| true)?;
        Ok(self.operands.pop().map(|o| o.expr))
    }

    fn push(&mut self, token: &Token, last: Option<&Token>) -> Result<(), SyntaxError> {
        match token.kind {
            TokenKind::Null => self.operand(token, ExprKind::Literal(Value::Null)),
            TokenKind::Bool(b) => self.operand(token, ExprKind::Literal(Value::Bool(b))),
            TokenKind::Number => {
                self.operand(token, ExprKind::Literal(Value::Number(token.number)));
            }
            TokenKind::String | TokenKind::Property => {
                self.operand(token, ExprKind::Literal(Value::string(token.text.as_str())));
            }
            TokenKind::Context => {
                if self.scope.is_some_and(|s| !s.has_context(&token.text)) {
                    return Err(self.error(token.start, token.end, "Unrecognized named-value"));
                }
                self.operand(token, ExprKind::Context(token.text.as_str().into()));
            }
            TokenKind::Function => {
                if self.arity(&token.text).is_none() && self.scope.is_some() {
                    return Err(self.error(token.start, token.end, "Unrecognized function"));
                }
                self.pending(token);
            }
            // The wildcard is the right side of an index; it makes no operand of its own.
            TokenKind::Wildcard => {
                if last.is_some_and(|l| l.kind == TokenKind::Dereference) {
                    self.operators.pop();
                    self.wildcard()?;
                } else {
                    self.pending(token);
                }
            }
            TokenKind::StartGroup | TokenKind::StartParameters | TokenKind::StartIndex => {
                if token.kind == TokenKind::StartIndex {
                    // `!a[0]` indexes a; a pending dereference comes first.
                    self.flush_while(|p| precedence(p.kind) == 20)?;
                }
                self.pending(token);
            }
            TokenKind::Separator => self.flush_while(|p| precedence(p.kind) > 0)?,
            TokenKind::EndGroup => {
                self.flush_while(|p| precedence(p.kind) > 0)?;
                self.operators.pop();
            }
            TokenKind::EndIndex => self.end_index()?,
            TokenKind::EndParameters => self.end_parameters()?,
            TokenKind::Operator(Operator::Not) => self.pending(token),
            TokenKind::Operator(_) | TokenKind::Dereference => {
                let own = precedence(token.kind);
                self.flush_while(|p| precedence(p.kind) >= own)?;
                self.pending(token);
            }
        }
        Ok(())
    }

    fn operand(&mut self, token: &Token, kind: ExprKind) {
        self.operands.push(Operand { expr: Expr { kind, start: token.start }, depth: 1 });
    }

    fn pending(&mut self, token: &Token) {
        self.operators.push(Pending {
            kind: token.kind,
            start: token.start,
            end: token.end,
            operands: self.operands.len(),
            name: token.text.as_str().into(),
        });
    }

    fn arity(&self, name: &str) -> Option<(usize, usize)> {
        well_known(name)
            .or_else(|| self.scope.and_then(|s| s.function(name)).map(|f| (f.min, f.max)))
    }

    /// The lexer let only whole operands through, so the stack holds what an operator needs.
    fn pop(&mut self) -> Result<Operand, SyntaxError> {
        match self.operands.pop() {
            Some(operand) => Ok(operand),
            None => Err(self.limit("Unexpected end of expression".into())),
        }
    }

    fn node(&mut self, kind: ExprKind, start: usize, children: usize) -> Result<(), SyntaxError> {
        let depth = children + 1;
        if depth > MAX_DEPTH {
            return Err(self.limit(format!("Exceeded max expression depth {MAX_DEPTH}")));
        }
        self.operands.push(Operand { expr: Expr { kind, start }, depth });
        Ok(())
    }

    fn wildcard(&mut self) -> Result<(), SyntaxError> {
        let base = self.pop()?;
        let start = base.expr.start;
        self.node(ExprKind::Wildcard(Box::new(base.expr)), start, base.depth)
    }

    fn end_index(&mut self) -> Result<(), SyntaxError> {
        self.flush_while(|p| precedence(p.kind) > 0)?;
        let top = self.operators.pop();
        if top.is_some_and(|p| p.kind == TokenKind::Wildcard) {
            self.operators.pop();
            return self.wildcard();
        }
        let index = self.pop()?;
        let base = self.pop()?;
        let start = base.expr.start;
        let depth = base.depth.max(index.depth);
        self.node(ExprKind::Index(Box::new(base.expr), Box::new(index.expr)), start, depth)
    }

    fn end_parameters(&mut self) -> Result<(), SyntaxError> {
        self.flush_while(|p| precedence(p.kind) > 0)?;
        self.operators.pop();
        let Some(function) = self.operators.pop() else {
            return Err(self.limit("Unexpected end of expression".into()));
        };
        let args = self.operands.split_off(function.operands.min(self.operands.len()));
        if let Some((min, max)) = self.arity(&function.name) {
            let refuse = |what| Err(self.error(function.start, function.end, what));
            if args.len() < min {
                return refuse("Too few parameters supplied");
            }
            if args.len() > max {
                return refuse("Too many parameters supplied");
            }
            if function.name.eq_ignore_ascii_case("case") && args.len().is_multiple_of(2) {
                return refuse("Even number of parameters supplied, requires an odd number");
            }
        }
        let depth = args.iter().map(|a| a.depth).max().unwrap_or(0);
        let args = args.into_iter().map(|a| a.expr).collect();
        self.node(ExprKind::Call(function.name, args), function.start, depth)
    }

    fn flush_while(&mut self, test: impl Fn(&Pending) -> bool) -> Result<(), SyntaxError> {
        while self.operators.last().is_some_and(|p| precedence(p.kind) > 0 && test(p)) {
            if let Some(operator) = self.operators.pop() {
                self.apply(&operator)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, operator: &Pending) -> Result<(), SyntaxError> {
        let right = self.pop()?;
        let TokenKind::Operator(op) = operator.kind else {
            let base = self.pop()?;
            let start = base.expr.start;
            let depth = base.depth.max(right.depth);
            return self.node(
                ExprKind::Index(Box::new(base.expr), Box::new(right.expr)),
                start,
                depth,
            );
        };
        if op == Operator::Not {
            return self.node(ExprKind::Not(Box::new(right.expr)), operator.start, right.depth);
        }
        let left = self.pop()?;
        let start = left.expr.start;
        let compare = match op {
            Operator::Eq => CompareOp::Eq,
            Operator::Ne => CompareOp::Ne,
            Operator::Lt => CompareOp::Lt,
            Operator::Le => CompareOp::Le,
            Operator::Gt => CompareOp::Gt,
            Operator::Ge => CompareOp::Ge,
            Operator::And | Operator::Or | Operator::Not => {
                return self.chain(op == Operator::And, left, right);
            }
        };
        let depth = left.depth.max(right.depth);
        self.node(
            ExprKind::Compare(compare, Box::new(left.expr), Box::new(right.expr)),
            start,
            depth,
        )
    }

    /// Chains of one logical operator are one node.
    fn chain(&mut self, and: bool, left: Operand, right: Operand) -> Result<(), SyntaxError> {
        let start = left.expr.start;
        let mut items = Vec::new();
        let mut depth = 0;
        for operand in [left, right] {
            match operand.expr.kind {
                ExprKind::And(nested) if and => {
                    depth = depth.max(operand.depth - 1);
                    items.extend(nested);
                }
                ExprKind::Or(nested) if !and => {
                    depth = depth.max(operand.depth - 1);
                    items.extend(nested);
                }
                kind => {
                    depth = depth.max(operand.depth);
                    items.push(Expr { kind, start: operand.expr.start });
                }
            }
        }
        self.node(if and { ExprKind::And(items) } else { ExprKind::Or(items) }, start, depth)
    }
}
