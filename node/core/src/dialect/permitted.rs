//! What an operator lets translations lose.

use std::fmt;
use std::str::FromStr;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 128;

/// What a translation may lose of a request whose client says nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PermittedLoss {
    /// Nothing: the request is refused.
    #[default]
    Nothing,
    /// Anything.
    Anything,
    /// What stands at these paths.
    Listed(Vec<LossPath>),
}

impl PermittedLoss {
    /// Whether `path`, such as `tools[1].format`, may be lost. `names` is what stands there calls itself: its type, its
    /// name.
    pub fn permits(&self, path: &str, names: impl FnOnce() -> Vec<String>) -> bool {
        let listed = match self {
            Self::Nothing => return false,
            Self::Anything => return true,
            Self::Listed(listed) => listed,
        };
        let plain = without_indexes(path);
        if listed.iter().any(|permitted| permitted.covers(&plain)) {
            return true;
        }
        let names = names();
        let named = |permitted: &LossPath| names.iter().any(|name| permitted.names(&plain, name));
        listed.iter().any(named)
    }
}

/// A path in a request's body, without the indexes of lists: `top_k`, `messages.content.document`. In a list it may end
/// with the type or the name of an item: `tools.web_search`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossPath(Box<str>);

/// Why a text is no such path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a path of names with dots between them, at most {PATH_BYTES_MAX} bytes long")]
pub struct LossPathError;

impl FromStr for LossPath {
    type Err = LossPathError;

    fn from_str(text: &str) -> Result<Self, LossPathError> {
        let is_sign = |sign: u8| sign.is_ascii_alphanumeric() || matches!(sign, b'_' | b'-' | b'$');
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_sign);
        match text.len() <= PATH_BYTES_MAX && text.split('.').all(is_name) {
            true => Ok(Self(text.into())),
            false => Err(LossPathError),
        }
    }
}

impl fmt::Display for LossPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl LossPath {
    /// Whether `path` is this one, or is below it.
    fn covers(&self, path: &str) -> bool {
        let below = path.strip_prefix(&*self.0);
        below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
    }

    /// Whether this is `path` and then `name`, or `name` without the date of its version: `web_search` is
    /// `web_search_20250305` too.
    fn names(&self, path: &str, name: &str) -> bool {
        let word = self
            .0
            .strip_prefix(path)
            .and_then(|it| it.strip_prefix('.'));
        let version = word.and_then(|word| name.strip_prefix(word));
        version.is_some_and(|version| {
            let is_date = |sign: u8| sign.is_ascii_digit() || sign == b'_';
            version.is_empty() || (version.starts_with('_') && version.bytes().all(is_date))
        })
    }
}

/// `tools[1].format` as `tools.format`.
fn without_indexes(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut is_index = false;
    for sign in path.chars() {
        match sign {
            '[' => is_index = true,
            ']' => is_index = false,
            sign if !is_index => plain.push(sign),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(listed: &[&str], path: &str, names: &[&str]) -> bool {
        let listed = listed.iter().map(|path| path.parse().expect("a path"));
        let permitted = PermittedLoss::Listed(listed.collect());
        let names = names.iter().map(|name| (*name).to_owned());
        permitted.permits(path, || names.collect())
    }

    #[test]
    fn path_permits_itself_and_what_is_below_wherever_in_a_list() {
        assert!(permits(&["top_k"], "top_k", &[]));
        assert!(permits(&["tools"], "tools[1].format", &[]));
        assert!(permits(
            &["messages.content"],
            "messages[2].content[1].citations",
            &[]
        ));
        assert!(!permits(&["top"], "top_k", &[]));
        assert!(!permits(&["tools.format"], "tools[1]", &[]));
        assert!(!permits(&[], "top_k", &[]));
    }

    #[test]
    fn item_of_a_list_is_permitted_by_its_type_or_name_in_any_version() {
        let tool = ["tools.web_search"];
        assert!(permits(&tool, "tools[3]", &["web_search"]));
        assert!(permits(
            &tool,
            "tools[3]",
            &["web_search_20250305", "web_search"]
        ));
        assert!(permits(&tool, "tools[3]", &["web_search_2025_08_26"]));
        assert!(!permits(&tool, "tools[3]", &["web_search_preview"]));
        assert!(!permits(&tool, "tools[3]", &["local_shell"]));
        assert!(!permits(&tool, "top_k", &["web_search"]));
    }

    #[test]
    fn words_permit_anything_or_nothing() {
        assert!(PermittedLoss::Anything.permits("tools[0]", Vec::new));
        assert!(!PermittedLoss::Nothing.permits("tools[0]", Vec::new));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", "tools[0]", "a b", &"a".repeat(129)] {
            assert_eq!(text.parse::<LossPath>(), Err(LossPathError), "{text}");
        }
    }
}
