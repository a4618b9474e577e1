//! Signatures of thoughts that travel through a client of another dialect.
//!
//! A provider accepts its own signatures alone. One that goes to a client of another dialect is sealed with the
//! name of the dialect that made it, so that it comes back to its maker as it was, and to nobody else.

use crate::dialect::Dialect;

/// What begins a sealed signature.
const SEAL: &str = "gvsig.";

/// The signature of `origin` as a client of `home` receives it. None at all is sealed too: it tells whose thought
/// it was.
pub(crate) fn sealed(signature: &str, origin: Dialect, home: Dialect) -> String {
    if origin == home {
        signature.to_string()
    } else {
        format!("{SEAL}{origin}.{signature}")
    }
}

/// The signature that a client of `home` sent, and whose it is.
pub(crate) fn opened(text: String, home: Dialect) -> (String, Dialect) {
    let parts = text
        .strip_prefix(SEAL)
        .and_then(|sealed| sealed.split_once('.'));
    let opened = parts.and_then(|(name, signature)| {
        let origin = Dialect::from_name(name).filter(|origin| *origin != home)?;
        Some((signature.to_string(), origin))
    });
    opened.unwrap_or((text, home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_comes_back_to_its_maker_as_it_was() {
        let sealed = sealed("c2ln.x==", Dialect::Messages, Dialect::Chat);
        assert_eq!(sealed, "gvsig.messages.c2ln.x==");
        let opened = opened(sealed, Dialect::Chat);
        assert_eq!(opened, ("c2ln.x==".to_string(), Dialect::Messages));
    }

    #[test]
    fn signature_of_the_same_dialect_is_not_sealed() {
        assert_eq!(sealed("abc", Dialect::Chat, Dialect::Chat), "abc");
    }

    #[test]
    fn seal_of_an_unknown_dialect_is_a_signature_like_any_other() {
        let opened = opened("gvsig.latin.abc".to_string(), Dialect::Chat);
        assert_eq!(opened, ("gvsig.latin.abc".to_string(), Dialect::Chat));
    }
}
