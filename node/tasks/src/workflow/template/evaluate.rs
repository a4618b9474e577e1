//! Evaluates the syntax: expressions to values, statements to text. Every node is a step of the meter.
//!
//! MiniJinja's own machine counts instructions and not what they make: one `~`, `*` or `indent` may make
//! gigabytes before the next instruction is counted, and what makes them cannot be replaced from outside. So
//! its parser is used, and not its machine.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{
    BinOpKind, Call, CallArg, CompareOpKind, Expr, ForLoop, Slice, Stmt, UnaryOpKind,
};

use super::TemplateScope;
use super::filters::{self, Arguments};
use super::meter::Meter;
use super::output::{Output, made};
use super::value::{Fields, Turn, Value};
use super::{arithmetic, checks};

/// Numbers that `range` gives at most.
const RANGE_MAX: i128 = 10_000;

/// Evaluates in one scope.
pub(super) struct Evaluator<'s, 't> {
    scope: Option<&'s TemplateScope<'s>>,
    meter: &'s Meter,
    /// What statements named, the innermost last.
    frames: Vec<BTreeMap<&'t str, Value<'s>>>,
}

impl<'s, 't> Evaluator<'s, 't> {
    pub(super) fn new(scope: &'s TemplateScope<'s>, meter: &'s Meter) -> Self {
        Self {
            scope: Some(scope),
            meter,
            frames: vec![BTreeMap::new()],
        }
    }

    /// For what refers to nothing.
    pub(super) fn without_scope(meter: &'s Meter) -> Self {
        Self {
            scope: None,
            meter,
            frames: vec![BTreeMap::new()],
        }
    }

    /// The text of `body`.
    pub(super) fn text(&mut self, body: &[Stmt<'t>]) -> Result<String, String> {
        let mut output = Output::new(self.meter);
        self.body(body, &mut output)?;
        Ok(output.into_text())
    }

    fn body(&mut self, body: &[Stmt<'t>], output: &mut Output<'_>) -> Result<(), String> {
        body.iter()
            .try_for_each(|statement| self.statement(statement, output))
    }

    fn statement(&mut self, statement: &Stmt<'t>, output: &mut Output<'_>) -> Result<(), String> {
        self.meter.step()?;
        match statement {
            Stmt::EmitRaw(raw) => output.push(raw.raw),
            Stmt::EmitExpr(emit) => output.write(&self.value(&emit.expr)?),
            Stmt::ForLoop(each) => self.each(each, output),
            Stmt::IfCond(branch) => match self.value(&branch.expr)?.is_true()? {
                true => self.body(&branch.true_body, output),
                false => self.body(&branch.false_body, output),
            },
            Stmt::WithBlock(with) => {
                self.frames.push(BTreeMap::new());
                for (target, value) in &with.assignments {
                    let value = self.value(value)?;
                    self.assign(target, value)?;
                }
                self.body(&with.body, output)?;
                self.frames.pop();
                Ok(())
            }
            Stmt::Set(set) => {
                let value = self.value(&set.expr)?;
                self.assign(&set.target, value)
            }
            Stmt::SetBlock(set) if set.filter.is_none() => {
                let mut inner = Output::new(self.meter);
                self.body(&set.body, &mut inner)?;
                let value = made(inner, self.meter)?;
                self.assign(&set.target, value)
            }
            _ => Err(super::UNOFFERED_STATEMENT.to_owned()),
        }
    }

    fn each(&mut self, each: &ForLoop<'t>, output: &mut Output<'_>) -> Result<(), String> {
        let mut items = self.value(&each.iter)?.items(self.meter)?;
        self.frames.push(BTreeMap::new());
        if let Some(filter) = &each.filter_expr {
            let mut kept = Vec::new();
            for item in items {
                self.turn(&each.target, item.clone(), None)?;
                if self.value(filter)?.is_true()? {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let length = items.len();
        for (index, item) in items.into_iter().enumerate() {
            self.turn(&each.target, item, Some(Turn { index, length }))?;
            self.body(&each.body, output)?;
        }
        self.frames.pop();
        match length {
            0 => self.body(&each.else_body, output),
            _ => Ok(()),
        }
    }

    /// Begins a turn of a loop: what the last one named is gone.
    fn turn(&mut self, target: &Expr<'t>, item: Value<'s>, at: Option<Turn>) -> Result<(), String> {
        self.meter.step()?;
        if let Some(frame) = self.frames.last_mut() {
            frame.clear();
            if let Some(turn) = at {
                frame.insert("loop", Value::Turn(turn));
            }
        }
        self.assign(target, item)
    }

    fn assign(&mut self, target: &Expr<'t>, value: Value<'s>) -> Result<(), String> {
        self.meter.step()?;
        match target {
            Expr::Var(name) => {
                if let Some(frame) = self.frames.last_mut() {
                    frame.insert(name.id, value);
                }
                Ok(())
            }
            Expr::List(targets) => {
                let items = value.items(self.meter)?;
                if items.len() != targets.items.len() {
                    let (count, names) = (items.len(), targets.items.len());
                    return Err(format!("has {count} values for {names} names"));
                }
                let mut pairs = targets.items.iter().zip(items);
                pairs.try_for_each(|(target, item)| self.assign(target, item))
            }
            _ => Err("sets what is no name".to_owned()),
        }
    }

    /// The value of `expression`; undefined where it refers to a value that does not exist.
    pub(super) fn value(&self, expression: &Expr<'t>) -> Result<Value<'s>, String> {
        self.meter.step()?;
        match expression {
            Expr::Var(name) => Ok(self.named(name.id)),
            Expr::Const(constant) => Value::constant(&constant.value, self.meter),
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => match unary.op {
                UnaryOpKind::Not => Ok(Value::Bool(!self.value(&unary.expr)?.is_true()?)),
                UnaryOpKind::Neg => arithmetic::negative(&self.value(&unary.expr)?),
            },
            Expr::BinOp(binary) => self.binary(binary.op, &binary.left, &binary.right),
            Expr::Compare(compare) => {
                let mut left = self.value(&compare.expr)?;
                for op in &compare.ops {
                    let right = self.value(&op.expr)?;
                    if !self.compare(op.op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::IfExpr(choice) => match self.value(&choice.test_expr)?.is_true()? {
                true => self.value(&choice.true_expr),
                false => match &choice.false_expr {
                    Some(other) => self.value(other),
                    None => Ok(Value::Undefined),
                },
            },
            Expr::Filter(filter) => {
                let Some(inner) = &filter.expr else {
                    return Err(super::UNOFFERED_STATEMENT.to_owned());
                };
                let input = self.value(inner)?;
                filters::apply(
                    filter.name,
                    input,
                    self.arguments(&filter.args)?,
                    self.meter,
                )
            }
            Expr::Test(test) => {
                let input = self.value(&test.expr)?;
                let arguments = self.arguments(&test.args)?;
                let holds = checks::holds(test.name, &input, &arguments, self.meter)?;
                Ok(Value::Bool(holds))
            }
            Expr::GetAttr(field) => self.value(&field.expr)?.field(field.name, self.meter),
            Expr::GetItem(item) => {
                let key = self.value(&item.subscript_expr)?.defined()?;
                self.value(&item.expr)?.item(&key, self.meter)
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(&list.items),
            Expr::Tuple(tuple) => self.list(&tuple.items),
            Expr::Map(map) => {
                let mut fields = BTreeMap::new();
                for (key, value) in map.keys.iter().zip(&map.values) {
                    let key = self.value(key)?;
                    let name = key.as_text().ok_or("has a key that is no text")?;
                    fields.insert(name.to_owned(), self.value(value)?.defined()?);
                }
                Value::fields(fields, self.meter)
            }
        }
    }

    fn list(&self, items: &[Expr<'t>]) -> Result<Value<'s>, String> {
        let items = items.iter().map(|item| self.value(item)?.defined());
        Value::list(items.collect::<Result<Vec<_>, _>>()?, self.meter)
    }

    fn named(&self, name: &str) -> Value<'s> {
        let mut frames = self.frames.iter().rev();
        if let Some(value) = frames.find_map(|frame| frame.get(name)) {
            return value.clone();
        }
        match (name, self.scope) {
            ("trigger", Some(scope)) => Value::of(scope.trigger),
            ("steps", Some(scope)) => Value::Fields(Fields::Steps(&scope.steps)),
            ("item", Some(scope)) => scope
                .item
                .map_or(Value::Undefined, |(item, _)| Value::of(item)),
            ("index", Some(scope)) => scope
                .item
                .map_or(Value::Undefined, |(_, index)| Value::Int(index as i128)),
            _ => Value::Undefined,
        }
    }

    fn binary(
        &self,
        op: BinOpKind,
        left: &Expr<'t>,
        right: &Expr<'t>,
    ) -> Result<Value<'s>, String> {
        let left = self.value(left)?;
        match op {
            BinOpKind::ScAnd if !left.is_true()? => return Ok(left),
            BinOpKind::ScOr if left.is_true()? => return Ok(left),
            _ => {}
        }
        let right = self.value(right)?;
        let compared = match op {
            BinOpKind::ScAnd | BinOpKind::ScOr => return Ok(right),
            BinOpKind::Concat => {
                let mut output = Output::new(self.meter);
                output.write(&left)?;
                output.write(&right)?;
                return made(output, self.meter);
            }
            BinOpKind::Eq => CompareOpKind::Eq,
            BinOpKind::Ne => CompareOpKind::Ne,
            BinOpKind::Lt => CompareOpKind::Lt,
            BinOpKind::Lte => CompareOpKind::Lte,
            BinOpKind::Gt => CompareOpKind::Gt,
            BinOpKind::Gte => CompareOpKind::Gte,
            BinOpKind::In => CompareOpKind::In,
            BinOpKind::Add
            | BinOpKind::Sub
            | BinOpKind::Mul
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => return arithmetic::apply(op, &left, &right, self.meter),
        };
        self.compare(compared, &left, &right).map(Value::Bool)
    }

    fn compare(
        &self,
        op: CompareOpKind,
        left: &Value<'s>,
        right: &Value<'s>,
    ) -> Result<bool, String> {
        Ok(match op {
            CompareOpKind::Eq => left.equals(right, self.meter)?,
            CompareOpKind::Ne => !left.equals(right, self.meter)?,
            CompareOpKind::Lt => left.order(right, self.meter)?.is_lt(),
            CompareOpKind::Lte => left.order(right, self.meter)?.is_le(),
            CompareOpKind::Gt => left.order(right, self.meter)?.is_gt(),
            CompareOpKind::Gte => left.order(right, self.meter)?.is_ge(),
            CompareOpKind::In => checks::contains(right, left, self.meter)?,
            CompareOpKind::NotIn => !checks::contains(right, left, self.meter)?,
        })
    }

    fn arguments<'a>(&self, arguments: &'a [CallArg<'t>]) -> Result<Arguments<'s, 'a>, String> {
        let mut found = Arguments::default();
        for argument in arguments {
            match argument {
                CallArg::Pos(value) => found.positional.push(self.value(value)?.defined()?),
                CallArg::Kwarg(name, value) => {
                    found.names.push((*name, self.value(value)?.defined()?));
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return Err("spreads a list into arguments, which is not offered".to_owned());
                }
            }
        }
        Ok(found)
    }

    /// `range` is the one function.
    fn call(&self, call: &Call<'t>) -> Result<Value<'s>, String> {
        match &call.expr {
            Expr::Var(name) if name.id == "range" => {}
            _ => return Err(super::UNOFFERED_CALL.to_owned()),
        }
        let arguments = self.arguments(&call.args)?;
        let mut numbers = Vec::new();
        for value in &arguments.positional {
            let Value::Int(number) = value else {
                return Err("range takes whole numbers".to_owned());
            };
            numbers.push(*number);
        }
        let (start, stop, step) = match numbers[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return Err("range takes an end, or a start, an end and a step".to_owned()),
        };
        let span = match step > 0 {
            true => stop.saturating_sub(start),
            false => start.saturating_sub(stop),
        };
        let count = span.max(0) / step.saturating_abs()
            + i128::from(span > 0 && span % step.saturating_abs() != 0);
        if count > RANGE_MAX {
            return Err(format!(
                "range gives {count} numbers; at most {RANGE_MAX} are taken"
            ));
        }
        let numbers = (0..count).map(|index| Value::Int(start + index * step));
        Value::list(numbers.collect(), self.meter)
    }

    fn slice(&self, slice: &Slice<'t>) -> Result<Value<'s>, String> {
        let input = self.value(&slice.expr)?.defined()?;
        let end = |end: &Option<Expr<'t>>| match end.as_ref().map(|end| self.value(end)) {
            None | Some(Ok(Value::Null)) => Ok(None),
            Some(Ok(Value::Int(number))) => Ok(Some(number)),
            Some(Ok(_)) => Err("slices at what is no whole number".to_owned()),
            Some(Err(error)) => Err(error),
        };
        let (start, stop) = (end(&slice.start)?, end(&slice.stop)?);
        let step = end(&slice.step)?.unwrap_or(1);
        match input {
            Value::Text(text) => arithmetic::cut(text.as_str(), start, stop, step, self.meter),
            list => {
                let items = list.items(self.meter)?;
                let indices = arithmetic::indices(items.len(), start, stop, step)?;
                let kept = indices.filter_map(|index| items.get(index).cloned());
                Value::list(kept.collect(), self.meter)
            }
        }
    }
}
