//! Permits `${NAME}` where YAML's braces and commas have a meaning of their own.
//!
//! In `{token: ${TOKEN}}` and `[${HOST}]` strict YAML takes the inner brace for the start of a map. So the
//! signs inside a variable are exchanged for stand-ins of one character each before the YAML is read, which
//! keeps every line and column, and exchanged back in the texts that come out.

/// Signs with a meaning in YAML's lists and maps, and their stand-ins from Unicode's private use area.
const STAND_INS: [(char, char); 5] = [
    ('{', '\u{F8F0}'),
    ('}', '\u{F8F1}'),
    (',', '\u{F8F2}'),
    ('[', '\u{F8F3}'),
    (']', '\u{F8F4}'),
];

/// `text` with stand-ins inside of each `${NAME}` and `${NAME:-default}`.
pub(super) fn shield(text: &str) -> String {
    let mut shielded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        shielded.push_str(before);
        let length = variable_length(from).unwrap_or("${".len());
        let (variable, after) = from.split_at(length);
        if length > "${".len() {
            shielded.extend(
                variable
                    .chars()
                    .map(|sign| exchange(sign, |(sign, stand_in)| (sign, stand_in))),
            );
        } else {
            shielded.push_str(variable);
        }
        rest = after;
    }
    shielded.push_str(rest);
    shielded
}

/// `text` with the signs restored from their stand-ins.
pub(super) fn unshield(text: &str) -> String {
    text.chars()
        .map(|sign| exchange(sign, |(sign, stand_in)| (stand_in, sign)))
        .collect()
}

fn exchange(sign: char, direction: impl Fn((char, char)) -> (char, char)) -> char {
    let found = STAND_INS
        .into_iter()
        .map(direction)
        .find(|(from, _)| *from == sign);
    found.map_or(sign, |(_, to)| to)
}

/// The length of the variable that `text` begins with; `None` when it is none, or does not end in its line.
fn variable_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("${")?;
    let end = inside.find(['}', '\n'])?;
    let inside = inside.get(..end)?;
    let name = inside.split_once(":-").map_or(inside, |(name, _)| name);
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let ends_here = text.as_bytes().get("${".len() + end) == Some(&b'}');
    (is_name && ends_here).then_some("${".len() + end + "}".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_keeps_its_width_and_loses_its_signs() {
        let text = "a: {b: ${X:-[p,q]}, c: [${Y}]} # ${";
        let shielded = shield(text);
        assert_eq!(shielded.chars().count(), text.chars().count());
        assert_eq!(
            shielded.matches(['{', '}', '[', ']', ',']).count(),
            6,
            "{shielded}"
        );
        assert_eq!(unshield(&shielded), text);
    }

    #[test]
    fn what_is_no_variable_stays_as_it_is() {
        for text in ["${", "${}", "${a b}", "${a\n}", "$ {x}", "${:-x}", "plain"] {
            assert_eq!(shield(text), text);
        }
    }
}
