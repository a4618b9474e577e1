//! What is known of a template before a run: what it refers to, that all it uses is offered, and that what
//! it makes of constants alone, and the numbers that size something, are within the limits.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, Expr, Filter, ForLoop, Stmt};

use super::checks;
use super::evaluate::Evaluator;
use super::filters::{self, FILTERS, Size};
use super::meter::Meter;
use super::syntax::{Parsed, argument, children};

/// Everything that a text refers to, as paths such as `steps.draft.output`.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn review(parsed: &Parsed<'_>, meter: &Meter) -> Result<BTreeSet<String>, String> {
    let mut review = Review {
        meter,
        named: vec![BTreeSet::new()],
        found: BTreeSet::new(),
    };
    match parsed {
        Parsed::Value(expression) => review.expression(expression)?,
        Parsed::Text(body) => review.body(body.parts())?,
    }
    Ok(review.found)
}

struct Review<'m, 't> {
    meter: &'m Meter,
    /// What statements named, the innermost last.
    named: Vec<BTreeSet<&'t str>>,
    found: BTreeSet<String>,
}

impl<'t> Review<'_, 't> {
    fn body(&mut self, body: &[Stmt<'t>]) -> Result<(), String> {
        body.iter()
            .try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'t>) -> Result<(), String> {
        match statement {
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::ForLoop(each) => self.each(each),
            Stmt::IfCond(branch) => {
                self.expression(&branch.expr)?;
                self.body(&branch.true_body)?;
                self.body(&branch.false_body)
            }
            Stmt::WithBlock(with) => {
                self.named.push(BTreeSet::new());
                for (target, value) in &with.assignments {
                    self.expression(value)?;
                    self.assign(target)?;
                }
                self.body(&with.body)?;
                self.named.pop();
                Ok(())
            }
            Stmt::Set(set) => {
                self.expression(&set.expr)?;
                self.assign(&set.target)
            }
            Stmt::SetBlock(set) if set.filter.is_none() => {
                self.body(&set.body)?;
                self.assign(&set.target)
            }
            _ => Err(super::UNOFFERED_STATEMENT.to_owned()),
        }
    }

    fn each(&mut self, each: &ForLoop<'t>) -> Result<(), String> {
        if each.recursive {
            return Err(super::UNOFFERED_STATEMENT.to_owned());
        }
        self.expression(&each.iter)?;
        self.named.push(BTreeSet::from(["loop"]));
        self.assign(&each.target)?;
        each.filter_expr
            .iter()
            .try_for_each(|filter| self.expression(filter))?;
        self.body(&each.body)?;
        self.named.pop();
        self.body(&each.else_body)
    }

    fn assign(&mut self, target: &Expr<'t>) -> Result<(), String> {
        match target {
            Expr::Var(name) => {
                if let Some(named) = self.named.last_mut() {
                    named.insert(name.id);
                }
                Ok(())
            }
            Expr::List(targets) => {
                let mut targets = targets.items.iter();
                targets.try_for_each(|target| self.assign(target))
            }
            _ => Err("sets what is no name".to_owned()),
        }
    }

    fn expression(&mut self, expression: &Expr<'t>) -> Result<(), String> {
        if let Some((name, path)) = path_of(expression) {
            if !self.named.iter().any(|named| named.contains(name)) {
                self.found.insert(path);
            }
            return Ok(());
        }
        if is_constant(expression) {
            return Evaluator::without_scope(self.meter)
                .value(expression)
                .map(drop);
        }
        match expression {
            Expr::Filter(filter) => self.filter(filter)?,
            Expr::Test(test) if !is_test(test.name) => return Err(checks::unknown(test.name)),
            Expr::Call(call) if !is_range(&call.expr) => {
                return Err(super::UNOFFERED_CALL.to_owned());
            }
            Expr::Call(call) => {
                let mut arguments = call.args.iter().map(argument);
                return arguments.try_for_each(|argument| self.expression(argument));
            }
            _ => {}
        }
        children(expression)
            .into_iter()
            .try_for_each(|child| self.expression(child))
    }

    /// That there is such a filter, and, where it is written down, that its size is within limits.
    fn filter(&self, filter: &Filter<'t>) -> Result<(), String> {
        if !FILTERS.contains(&filter.name) || filter.expr.is_none() {
            return Err(filters::unknown(filter.name));
        }
        let Some(size) = filters::size_of_filter(filter.name) else {
            return Ok(());
        };
        match sizing(&filter.args, &size).filter(|value| is_constant(value)) {
            Some(value) => {
                let value = Evaluator::without_scope(self.meter).value(value)?;
                size.check(filter.name, &value).map(drop)
            }
            None => Ok(()),
        }
    }
}

fn sizing<'e, 't>(arguments: &'e [CallArg<'t>], size: &Size) -> Option<&'e Expr<'t>> {
    let is_named = |it: &&CallArg<'t>| matches!(it, CallArg::Kwarg(name, _) if *name == size.name);
    match arguments.get(size.position) {
        Some(CallArg::Pos(value)) => Some(value),
        _ => arguments.iter().find(is_named).map(argument),
    }
}

fn is_test(name: &str) -> bool {
    checks::TESTS.contains(&name) || name == checks::UNDEFINED
}

fn is_range(expression: &Expr<'_>) -> bool {
    matches!(expression, Expr::Var(name) if name.id == "range")
}

/// A name with the fields behind it, `a.b.c`: the name, and all of it.
fn path_of<'t>(expression: &Expr<'t>) -> Option<(&'t str, String)> {
    match expression {
        Expr::Var(name) => Some((name.id, name.id.to_owned())),
        Expr::GetAttr(field) => {
            let (name, path) = path_of(&field.expr)?;
            Some((name, format!("{path}.{}", field.name)))
        }
        _ => None,
    }
}

/// Whether it refers to nothing, so that it gives the same in every run.
fn is_constant(expression: &Expr<'_>) -> bool {
    match expression {
        Expr::Var(_) => false,
        Expr::Call(call) if is_range(&call.expr) => call.args.iter().map(argument).all(is_constant),
        other => children(other).into_iter().all(is_constant),
    }
}

/// Renders hostile text: what it makes is bounded whatever it contains. For fuzzing: reads `text` as a template,
/// reviews it, and fills it whether or not the review found something.
pub fn probe(text: &str) -> usize {
    let trigger = serde_json::json!({
        "text": "a, b 'c'\n\u{e9}", "list": [1, 2.5, null, "x", {"a": [true]}], "number": 3,
    });
    let scope = super::TemplateScope::new(&trigger, std::collections::BTreeMap::new());
    let templates = super::Templates;
    let reviewed = super::Reviewer::default().references(&serde_json::json!(text));
    let condition = templates.holds(text, &scope);
    let filled = templates.fill(&serde_json::json!({"text": text}), &scope);
    let length = filled.map_or(0, |value| value.to_string().len());
    length + usize::from(reviewed.is_ok()) + usize::from(condition.is_ok())
}
