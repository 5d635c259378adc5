//! The GitHub expression language: lex, parse, check against what a key may use, evaluate.
//!
//! The grammar and every rule follow the runner's C# (`actions/runner`,
//! `src/Sdk/Expressions`); where GitHub's npm package differs, C# wins.
//!
//! Deliberately absent: files and status. `hashFiles` and the status functions are asked of the
//! [`Environment`]; one that cannot answer yet says which [`Need`] stands in the way, and the
//! caller evaluates again with the answer.

mod ast;
mod compare;
mod evaluate;
mod facts;
mod functions;
mod lexer;
mod parser;
mod scope;
mod template;

pub use ast::{CompareOp, Expr, ExprKind};
pub use compare::loose_eq;
pub use evaluate::{Environment, EvalError, Need, evaluate, index};
pub use facts::facts;
pub use lexer::{ErrorKind, SyntaxError};
pub use parser::{MAX_DEPTH, MAX_LENGTH, parse, parse_in};
pub use scope::{FunctionArity, Scope, Status, uses_status_function};
pub use template::{Expression, Place, Template, TemplateError, TemplateKind};
