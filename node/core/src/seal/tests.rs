use proptest::prelude::*;

use super::*;

fn owner(region: &str, upstream: &str, node: &str) -> Owner {
    Owner::of(
        &RegionName::new(region).expect("a region"),
        &UpstreamName::new(upstream).expect("an upstream"),
        &NodeName::new(node).expect("a node"),
    )
}

const PROOF: SealProof = [1, 2, 3, 4, 5, 255];

fn sealed(id: &str) -> String {
    let kind = id_kind(id.as_bytes()).expect("an id that upstreams make");
    let end = seal(kind, owner("eur", "openai", "eur-1"), PROOF);
    format!("{id}{}", String::from_utf8(end).expect("digits"))
}

#[test]
fn sealed_ids_are_pinned() {
    // A change here makes every id that clients keep a forged one.
    assert_eq!(sealed("resp_68ab"), "resp_68ab_gGqXjIz7hoomcliB");
    assert_eq!(sealed("file-AbC"), "file-AbC-gGqXjIz7hoomcliB");
}

#[test]
fn seal_is_seventeen_bytes_of_the_ids_own_characters() {
    for id in [
        "resp_1", "conv_1", "cntr_1", "batch_1", "rs_1", "sess_1", "file-1",
    ] {
        let sealed = sealed(id);
        assert_eq!(sealed.len(), id.len() + 17, "{sealed}");
        assert!(id_kind(sealed.as_bytes()).is_some(), "{sealed}");
        let kind = id_kind(id.as_bytes()).expect("an id");
        let read = read(kind, sealed.as_bytes()).expect("a seal");
        assert_eq!(&sealed[..read.original], id);
        assert_eq!(
            (read.owner, read.proof),
            (owner("eur", "openai", "eur-1"), PROOF)
        );
    }
}

#[test]
fn what_upstreams_do_not_make_or_keep_has_no_kind() {
    for id in [
        "", "resp_", "msg_1", "fc_1", "resp-1", "call_1", "resp_a b", "file-ä", "Resp_1",
    ] {
        assert_eq!(id_kind(id.as_bytes()), None, "{id}");
    }
    let long = format!("resp_{}", "x".repeat(ID_BYTES_MAX));
    assert_eq!(id_kind(long.as_bytes()), None);
}

#[test]
fn ids_of_providers_end_as_no_seal() {
    for id in [
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "resp_f1e2d3c4-a5b6-47c8-99d0-0123456789ab",
        "conv_0123456789abcdef0123456789abcdef0123456789abcdef",
        "file-6F2ksmvXxt4VdoqmHRw6kL",
        "file-g23456789012345",
        "rs_gabcdefghijklmno",
    ] {
        let kind = id_kind(id.as_bytes()).expect("an id");
        assert_eq!(read(kind, id.as_bytes()), None, "{id}");
    }
}

#[test]
fn owner_is_a_region_and_an_upstream_at_whichever_node() {
    let view = |region: &str, upstream: &str, node: &str| UpstreamView {
        region: RegionName::new(region).expect("a region"),
        name: UpstreamName::new(upstream).expect("an upstream"),
        node: NodeName::new(node).expect("a node"),
        ..crate::route::tests::upstream("any", 1)
    };
    let made = owner("eur", "openai", "eur-1");
    assert!(made.is(&view("eur", "openai", "eur-1")));
    assert!(made.is_at_the_node_of(&view("eur", "openai", "eur-1")));
    assert!(made.is(&view("eur", "openai", "eur-2")));
    assert!(!made.is_at_the_node_of(&view("eur", "openai", "eur-2")));
    assert!(!made.is(&view("usa", "openai", "eur-1")));
    assert!(!made.is(&view("eur", "azure", "eur-1")));
    // Names that are swapped are others.
    assert!(!owner("a", "b", "n").is(&view("b", "a", "n")));
}

proptest! {
    #[test]
    fn seal_is_read_back_as_it_was_written(
        rest in "[A-Za-z0-9_-]{1,60}",
        prefix in 0..PREFIXES.len(),
        upstream in any::<u32>(),
        node in any::<u8>(),
        proof in any::<SealProof>(),
    ) {
        let mut text = [PREFIXES[prefix].0, rest.as_bytes()].concat();
        let kind = id_kind(&text).expect("an id");
        let (length, owner) = (text.len(), Owner { upstream, node });
        text.extend(seal(kind, owner, proof));
        prop_assert_eq!(read(kind, &text), Some(ReadSeal { original: length, owner, proof }));
        // A nested mesh seals again, and each opens its own.
        text.extend(seal(kind, owner, PROOF));
        prop_assert_eq!(read(kind, &text).map(|read| read.original), Some(length + 17));
    }

    #[test]
    fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = id_kind(&text);
        for kind in [SealedKind::Id(b'_'), SealedKind::Id(b'-'), SealedKind::Content] {
            let _ = read(kind, &text);
        }
    }

    #[test]
    fn digits_are_numbers_below_their_bound(text in "[0-9A-Za-z]{15}") {
        let digits: [u8; SEAL_DIGITS] = text.as_bytes().try_into().expect("fifteen");
        if let Some(number) = digits::read(&digits) {
            prop_assert_eq!(digits::write(number), digits);
        }
    }
}
