use std::fmt;
use std::sync::Arc;

use trainyard_model::Value;

/// A parsed expression with its place: the byte range in the expression's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// First byte in the text it was parsed from.
    pub start: usize,
}

/// The forms of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// `null`, `true`, `1`, `'text'`
    Literal(Value),
    /// A context: `github`
    Context(Arc<str>),
    /// `a.b`, `a['b']`, `a[0]`
    Index(Box<Expr>, Box<Expr>),
    /// `a.*`, `a[*]`
    Wildcard(Box<Expr>),
    /// `contains(a, b)`, with the name as written
    Call(Arc<str>, Vec<Expr>),
    /// `!a`
    Not(Box<Expr>),
    /// `a && b && c`
    And(Vec<Expr>),
    /// `a || b || c`
    Or(Vec<Expr>),
    /// `a == b` and its kin
    Compare(CompareOp, Box<Expr>, Box<Expr>),
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl CompareOp {
    fn as_str(self) -> &'static str {
        match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        }
    }
}

impl Expr {
    /// Calls `visit` on this expression and everything in it, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Context(_) => {}
            ExprKind::Index(a, b) | ExprKind::Compare(_, a, b) => {
                a.walk(visit);
                b.walk(visit);
            }
            ExprKind::Wildcard(a) | ExprKind::Not(a) => a.walk(visit),
            ExprKind::Call(_, items) | ExprKind::And(items) | ExprKind::Or(items) => {
                for item in items {
                    item.walk(visit);
                }
            }
        }
    }
}

/// Prints an expression that parses to the same tree.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[Expr], separator: &str| {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    f.write_str(separator)?;
                }
                write!(f, "{item}")?;
            }
            Ok(())
        };
        match &self.kind {
            ExprKind::Literal(Value::Null) => f.write_str("null"),
            ExprKind::Literal(Value::String(s)) => write!(f, "'{}'", s.replace('\'', "''")),
            // Shortest text that reads back the same, where G15 would round.
            ExprKind::Literal(Value::Number(n)) if n.is_finite() => write!(f, "{n:e}"),
            ExprKind::Literal(Value::Number(n)) if *n < 0.0 => f.write_str("-Infinity"),
            ExprKind::Literal(v) => f.write_str(&v.to_text()),
            ExprKind::Context(name) => f.write_str(name),
            ExprKind::Index(a, b) => write!(f, "{a}[{b}]"),
            ExprKind::Wildcard(a) => write!(f, "{a}.*"),
            ExprKind::Call(name, args) => {
                write!(f, "{name}(")?;
                list(f, args, ", ")?;
                f.write_str(")")
            }
            ExprKind::Not(a) => write!(f, "!{a}"),
            ExprKind::And(items) => {
                f.write_str("(")?;
                list(f, items, " && ")?;
                f.write_str(")")
            }
            ExprKind::Or(items) => {
                f.write_str("(")?;
                list(f, items, " || ")?;
                f.write_str(")")
            }
            ExprKind::Compare(op, a, b) => write!(f, "({a} {} {b})", op.as_str()),
        }
    }
}
