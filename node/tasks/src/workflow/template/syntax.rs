//! Reads templates: MiniJinja's own parser, between two checks that keep its work and its tree small.
//!
//! Before it: the tokens are counted, since the parser calls itself for some and builds a tree that is as deep
//! as a chain of operators is long; what frees such a tree calls itself too. After it: how deep the tree is.

use minijinja::machinery::ast::{CallArg, Expr, Stmt};
use minijinja::machinery::{Token, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;

/// Tokens of one text.
const TOKENS_MAX: usize = 8_192;

/// Tokens of one `{{ }}` or `{% %}`.
const TAG_TOKENS_MAX: usize = 512;

/// `{% %}` of one text.
const STATEMENTS_MAX: usize = 128;

/// Brackets within one another.
const BRACKETS_MAX: usize = 24;

/// Operators, filters, calls and statements within one another; each operator of a chain is within the next.
const DEPTH_MAX: usize = 64;

/// A text that was read.
pub(super) enum Parsed<'t> {
    /// One expression.
    Value(Expr<'t>),
    /// Text with expressions and statements in it.
    Text(Body<'t>),
}

/// What a text consists of.
pub(super) struct Body<'t>(Stmt<'t>);

impl<'t> Body<'t> {
    /// Its parts, in order.
    pub(super) fn parts(&self) -> &[Stmt<'t>] {
        match &self.0 {
            Stmt::Template(template) => &template.children,
            other => std::slice::from_ref(other),
        }
    }
}

/// Reads a text: as an expression where it is one alone, `{{ .. }}`.
pub(super) fn read(text: &str) -> Result<Parsed<'_>, String> {
    count(text, false)?;
    if let Some(inner) = sole(text)
        && let Ok(expression) = expression(inner)
    {
        return Ok(Parsed::Value(expression));
    }
    let parsed = parse(text, "text", SyntaxConfig::default());
    let body = Body(parsed.map_err(|error| unreadable(&error))?);
    statements(body.parts(), DEPTH_MAX)?;
    Ok(Parsed::Text(body))
}

/// Reads an expression.
pub(super) fn expression(text: &str) -> Result<Expr<'_>, String> {
    count(text, true)?;
    let expression = parse_expr(text).map_err(|error| unreadable(&error))?;
    depth(&expression, DEPTH_MAX)?;
    Ok(expression)
}

/// What is between the braces of a text that begins and ends with them.
fn sole(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner))
}

fn unreadable(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("cannot be read: {detail}"),
        None => format!("cannot be read: {}", error.kind()),
    }
}

/// Counts tokens without keeping them.
fn count(text: &str, is_expression: bool) -> Result<(), String> {
    let (mut tokens, mut in_tag, mut statements, mut brackets) = (0, 0, 0, 0_usize);
    for token in tokenize(text, is_expression, SyntaxConfig::default()) {
        let (token, _) = token.map_err(|error| unreadable(&error))?;
        tokens += 1;
        in_tag += 1;
        match token {
            Token::TemplateData(_) | Token::VariableStart => (in_tag, brackets) = (0, 0),
            Token::BlockStart => {
                (in_tag, brackets) = (0, 0);
                statements += 1;
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                brackets = brackets.saturating_sub(1);
            }
            _ => {}
        }
        at_most("words and signs", tokens, TOKENS_MAX)?;
        at_most(
            "words and signs in one pair of braces",
            in_tag,
            TAG_TOKENS_MAX,
        )?;
        at_most("statements", statements, STATEMENTS_MAX)?;
        at_most("brackets within one another", brackets, BRACKETS_MAX)?;
    }
    Ok(())
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), String> {
    match count > max {
        true => Err(format!("has more than {max} {what}; split it")),
        false => Ok(()),
    }
}

fn deeper(left: usize) -> Result<usize, String> {
    left.checked_sub(1)
        .ok_or_else(|| format!("has more than {DEPTH_MAX} operators within one another; split it"))
}

fn statements(body: &[Stmt<'_>], left: usize) -> Result<(), String> {
    let left = deeper(left)?;
    body.iter().try_for_each(|statement| match statement {
        Stmt::EmitExpr(emit) => depth(&emit.expr, left),
        Stmt::ForLoop(each) => {
            depth(&each.iter, left)?;
            each.filter_expr.iter().try_for_each(|it| depth(it, left))?;
            statements(&each.body, left)?;
            statements(&each.else_body, left)
        }
        Stmt::IfCond(branch) => {
            depth(&branch.expr, left)?;
            statements(&branch.true_body, left)?;
            statements(&branch.false_body, left)
        }
        Stmt::WithBlock(with) => {
            let mut values = with.assignments.iter();
            values.try_for_each(|(_, value)| depth(value, left))?;
            statements(&with.body, left)
        }
        Stmt::Set(set) => depth(&set.expr, left),
        Stmt::SetBlock(set) => {
            set.filter.iter().try_for_each(|it| depth(it, left))?;
            statements(&set.body, left)
        }
        // Raw text has no depth, and of what is left nothing is offered.
        _ => Ok(()),
    })
}

fn depth(expression: &Expr<'_>, left: usize) -> Result<(), String> {
    let left = deeper(left)?;
    children(expression)
        .into_iter()
        .try_for_each(|child| depth(child, left))
}

/// The expressions that an expression consists of.
pub(super) fn children<'e, 't>(expression: &'e Expr<'t>) -> Vec<&'e Expr<'t>> {
    match expression {
        Expr::Var(_) | Expr::Const(_) => Vec::new(),
        Expr::Slice(slice) => {
            let ends = [&slice.start, &slice.stop, &slice.step];
            let ends = ends.into_iter().flatten();
            std::iter::once(&slice.expr).chain(ends).collect()
        }
        Expr::UnaryOp(unary) => vec![&unary.expr],
        Expr::BinOp(binary) => vec![&binary.left, &binary.right],
        Expr::Compare(compare) => {
            let others = compare.ops.iter().map(|op| &op.expr);
            std::iter::once(&compare.expr).chain(others).collect()
        }
        Expr::IfExpr(choice) => {
            let both = [&choice.test_expr, &choice.true_expr];
            both.into_iter().chain(&choice.false_expr).collect()
        }
        Expr::Filter(filter) => {
            let arguments = filter.args.iter().map(argument);
            filter.expr.iter().chain(arguments).collect()
        }
        Expr::Test(test) => {
            let arguments = test.args.iter().map(argument);
            std::iter::once(&test.expr).chain(arguments).collect()
        }
        Expr::GetAttr(field) => vec![&field.expr],
        Expr::GetItem(item) => vec![&item.expr, &item.subscript_expr],
        Expr::Call(call) => {
            let arguments = call.args.iter().map(argument);
            std::iter::once(&call.expr).chain(arguments).collect()
        }
        Expr::List(list) => list.items.iter().collect(),
        Expr::Tuple(tuple) => tuple.items.iter().collect(),
        Expr::Map(map) => map.keys.iter().chain(&map.values).collect(),
    }
}

pub(super) fn argument<'e, 't>(argument: &'e CallArg<'t>) -> &'e Expr<'t> {
    match argument {
        CallArg::Pos(value)
        | CallArg::Kwarg(_, value)
        | CallArg::PosSplat(value)
        | CallArg::KwargSplat(value) => value,
    }
}
