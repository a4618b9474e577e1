use grapevine_core::ids::NodeName;

use super::super::checked::FAILURES_PER_SECOND;
use super::super::issuer::IssuingKey;
use super::super::jws::JwsError;
use super::super::token::tests::issued as token_of;
use super::*;

/// While the tokens of these tests are valid.
const NOW: Duration = Duration::from_secs(1_500);

fn issuers(key: &IssuingKey) -> Issuers {
    Issuers {
        public_keys: vec![key.public()],
        mesh: MeshName::new("production").expect("a name"),
        stale_after: None,
    }
}

fn ring(key: &IssuingKey) -> KeyRing {
    KeyRing::new(Some(issuers(key)), NOW)
}

fn key() -> IssuingKey {
    IssuingKey::generate().expect("a key")
}

fn signed(key: &IssuingKey, said: &KeyStatement, at: Duration) -> String {
    let mesh = MeshName::new("production").expect("a name");
    said.sign(&mesh, at, key).expect("a statement")
}

fn name_of(checked: Result<Arc<ClientKey>, KeyRefusal>) -> Result<String, &'static str> {
    let checked = checked.map_err(|refusal| refusal.code());
    checked.map(|key| key.name.to_string())
}

#[test]
fn token_is_taken_within_its_time_by_its_mesh_alone() {
    let key = key();
    let ring = ring(&key);
    let issued = token_of("app");
    let token = issued.sign(&key).expect("a token");
    let at = |seconds| name_of(ring.check(token.as_bytes(), Duration::from_secs(seconds), &[]));
    assert_eq!(at(1_500), Ok("app".to_owned()));
    assert_eq!(at(1_999), Ok("app".to_owned()));
    assert_eq!(at(2_000), Err("key_expired"));
    assert_eq!(at(900), Err("key_not_yet_valid"));
    assert_eq!(
        at(940),
        Ok("app".to_owned()),
        "clocks may differ by a minute"
    );
    let elsewhere = IssuedKey {
        mesh: MeshName::new("staging").expect("a name"),
        ..issued
    };
    let elsewhere = elsewhere.sign(&key).expect("a token");
    let refused = ring.check(elsewhere.as_bytes(), NOW, &[]);
    assert_eq!(name_of(refused), Err("key_for_another_mesh"));
}

#[test]
fn each_bad_token_has_a_code_of_its_own() {
    let (key, other) = (key(), key());
    let ring = ring(&key);
    let token = token_of("app").sign(&key).expect("a token");
    let code = |text: &str| name_of(ring.check(text.as_bytes(), NOW, &[]));
    assert_eq!(code(&token[..token.len() - 1]), Err("key_malformed"));
    assert_eq!(code(&token[..20]), Err("key_malformed"));
    let foreign = token_of("app").sign(&other).expect("a token");
    assert_eq!(code(&foreign), Err("key_issuer_unknown"));
    let parts: Vec<&str> = token.split('.').collect();
    let forged = token_of("root").sign(&key).expect("a token");
    let payload = forged.split('.').nth(1).expect("three parts");
    assert_eq!(
        code(&[parts[0], payload, parts[2]].join(".")),
        Err("key_signature_wrong")
    );
    assert_eq!(code("gv-something"), Err("invalid_api_key"));
}

#[test]
fn revoked_token_is_refused_although_it_was_verified_before() {
    let key = key();
    let ring = ring(&key);
    let issued = token_of("app");
    let token = issued.sign(&key).expect("a token");
    assert!(ring.check(token.as_bytes(), NOW, &[]).is_ok());
    let revoke = KeyStatement::Revoke {
        id: issued.id.clone(),
        until: issued.expires_at,
    };
    let text = signed(&key, &revoke, NOW);
    assert_eq!(ring.take(&text, NOW), Ok(Merged::New));
    assert_eq!(ring.take(&text, NOW), Ok(Merged::Known));
    let refused = ring.check(token.as_bytes(), NOW, &[]).expect_err("revoked");
    assert_eq!(
        (refused.code(), refused.id()),
        ("key_revoked", Some(&issued.id))
    );
}

#[test]
fn removed_issuer_is_believed_no_more() {
    let (old, new) = (key(), key());
    let ring = ring(&old);
    let token = token_of("app").sign(&old).expect("a token");
    assert!(ring.check(token.as_bytes(), NOW, &[]).is_ok());
    let both = Issuers {
        public_keys: vec![old.public(), new.public()],
        ..issuers(&old)
    };
    ring.set_issuers(Some(both));
    assert!(ring.check(token.as_bytes(), NOW, &[]).is_ok());
    ring.set_issuers(Some(issuers(&new)));
    let refused = ring.check(token.as_bytes(), NOW, &[]);
    assert_eq!(name_of(refused), Err("key_issuer_unknown"));
}

#[test]
fn statement_about_a_static_key_holds_against_the_file() {
    let key = key();
    let ring = ring(&key);
    let filed = [StaticKey {
        hash: KeyHash::of("filed"),
        key: Arc::new(ClientKey::named("app")),
    }];
    let check = |presented: &str| name_of(ring.check(presented.as_bytes(), NOW, &filed));
    assert_eq!(check("filed"), Ok("app".to_owned()));
    let put = KeyStatement::Put(StaticKey {
        hash: KeyHash::of("put"),
        key: Arc::new(ClientKey::named("app")),
    });
    let text = signed(&key, &put, Duration::from_secs(1));
    assert_eq!(ring.take(&text, NOW), Ok(Merged::New));
    assert_eq!(check("filed"), Err("invalid_api_key"));
    assert_eq!(check("put"), Ok("app".to_owned()));
    let name = NodeName::new("app").expect("a name");
    let text = signed(&key, &KeyStatement::Remove { name }, Duration::from_secs(2));
    assert_eq!(ring.take(&text, NOW), Ok(Merged::New));
    assert_eq!(check("put"), Err("invalid_api_key"));
    assert_eq!(check("filed"), Err("invalid_api_key"));
}

#[test]
fn statements_of_others_for_others_and_of_the_future_are_refused() {
    let (key, other) = (key(), key());
    let ring = ring(&key);
    let name = NodeName::new("app").expect("a name");
    let said = KeyStatement::Remove { name };
    let unknown = StatementRefusal::Unsigned(JwsError::UnknownIssuer);
    assert_eq!(ring.take(&signed(&other, &said, NOW), NOW), Err(unknown));
    let mesh = MeshName::new("staging").expect("a name");
    let elsewhere = said.sign(&mesh, NOW, &key).expect("a statement");
    assert_eq!(ring.take(&elsewhere, NOW), Err(StatementRefusal::OtherMesh));
    let early = signed(&key, &said, NOW + AHEAD_MAX + Duration::from_secs(1));
    assert_eq!(ring.take(&early, NOW), Err(StatementRefusal::Future));
    let alone = KeyRing::default();
    assert_eq!(alone.take(&early, NOW), Err(StatementRefusal::NoIssuers));
    assert!(ring.known().is_empty());
}

#[test]
fn flood_of_bad_tokens_is_bounded_and_evicts_no_good_one() {
    let key = key();
    let ring = ring(&key);
    let token = token_of("app").sign(&key).expect("a token");
    assert!(ring.check(token.as_bytes(), NOW, &[]).is_ok());
    let cut = &token[..token.len() - 1];
    for index in 0..FAILURES_PER_SECOND {
        let bad = format!("{cut}{}", index % 10);
        let refused = ring.check(bad.as_bytes(), NOW, &[]);
        assert!(refused.is_err_and(|it| it != KeyRefusal::Busy) || token.ends_with(&bad));
    }
    let mut spent = ring.check(b"eyJhbGciOiJ", NOW, &[]);
    while !matches!(spent, Err(KeyRefusal::Busy)) {
        spent = ring.check(b"eyJhbGciOiJ", NOW, &[]);
    }
    assert!(
        ring.check(token.as_bytes(), NOW, &[]).is_ok(),
        "known before"
    );
    let unseen = token_of("late").sign(&key).expect("a token");
    let next = NOW + Duration::from_secs(1);
    let checked = name_of(ring.check(unseen.as_bytes(), NOW, &[]));
    assert_eq!(checked, Err("key_checks_busy"));
    assert!(ring.check(unseen.as_bytes(), next, &[]).is_ok());
}

#[test]
fn node_that_has_not_heard_of_revocations_for_too_long_refuses_tokens() {
    let key = key();
    let limit = Duration::from_secs(60);
    let strict = Issuers {
        stale_after: Some(limit),
        ..issuers(&key)
    };
    let ring = KeyRing::new(Some(strict), NOW);
    let token = token_of("app").sign(&key).expect("a token");
    let check = |now| name_of(ring.check(token.as_bytes(), now, &[]));
    assert_eq!(check(NOW + limit), Ok("app".to_owned()));
    let late = NOW + limit + Duration::from_secs(1);
    assert_eq!(check(late), Err("revocations_stale"));
    ring.confirm(late);
    assert_eq!(check(late), Ok("app".to_owned()));
}
