//! Tokens, good ones and all that are to be refused. Keys are made for the test, but for RSA's, which ring cannot make.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use ottla_transport::jwt::{
    Algorithm, Bearer, Checks, Claims, KeySet, KeySetError, TOKEN_BYTES_MAX, TokenError,
};
use proptest::prelude::*;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Signs tokens as a provider does.
enum Signer {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
}

impl Signer {
    fn rsa() -> Self {
        let pem = include_str!("fixtures/signs-tokens-in-tests.key");
        let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Self::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(text).unwrap()).unwrap())
    }

    fn ec(algorithm: Algorithm) -> Self {
        let (signing, curve) = match algorithm {
            Algorithm::Es384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            _ => (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        };
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(signing, key.as_ref(), &random).unwrap(), curve)
    }

    fn for_algorithm(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => Self::ec(algorithm),
            _ => Self::rsa(),
        }
    }

    /// The public key, named `id`.
    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": id, "n": BASE64.encode(public.n), "e": BASE64.encode(public.e)})
            }
            Self::Ec(key, curve) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
                json!({"kty": "EC", "crv": curve, "kid": id, "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
        }
    }

    fn keys(&self, id: &str) -> KeySet {
        set(&[self.jwk(id)])
    }

    fn sign_parts(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = match self {
            Self::Rsa(key) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(key, _) => key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", BASE64.encode(signature))
    }

    fn sign(&self, algorithm: Algorithm, id: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm.name(), "kid": id, "typ": "JWT"});
        self.sign_parts(algorithm, &header.to_string(), &claims.to_string())
    }
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// A minute's token of alice for `kafka`, with some claims more, or others; `null` takes one out.
fn claims(edit: Value) -> Value {
    let mut claims =
        json!({"iss": "https://id.example", "aud": "kafka", "sub": "alice", "iat": NOW, "exp": NOW + 60});
    for (name, value) in edit.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn checks() -> Checks {
    Checks { audience: vec!["kafka".into()], issuer: Some("https://id.example".into()), ..Checks::default() }
}

fn check(token: &str, keys: &KeySet) -> Result<Bearer, TokenError> {
    checks().check(token, keys, Duration::from_secs(NOW))
}

/// What becomes of claims that are signed well.
fn judged(checks: &Checks, edit: Value, now: u64) -> Result<Bearer, TokenError> {
    thread_local! { static SIGNER: Signer = Signer::ec(Algorithm::Es256); }
    SIGNER.with(|signer| {
        let token = signer.sign(Algorithm::Es256, "k", &claims(edit));
        checks.check(&token, &signer.keys("k"), Duration::from_secs(now))
    })
}

fn claim(error: &TokenError) -> &str {
    match error {
        TokenError::Claim { name, .. } => name,
        other => panic!("{other}"),
    }
}

/// RFC 7515, appendices A.3 (good, and of a time without `iat`, for which it is refused only then) and A.1, signed by a shared secret.
#[test]
fn tokens_of_the_rfc_are_read() {
    let key = json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp\
                 0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_eq!(claim(&check(token, &set(&[key])).unwrap_err()), "iat");
    let claims = Claims::unchecked(token).unwrap();
    assert_eq!(claims.expires(), Ok(Duration::from_secs(1_300_819_380)));
    assert_eq!(claims.issuer(), Ok(Some("joe")));
}

#[test]
fn whoever_the_provider_signed_for_is_let_in_by_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::for_algorithm(algorithm);
        let token = signer.sign(algorithm, "k", &claims(json!({"scope": ["read", "write"]})));
        let bearer = check(&token, &signer.keys("k")).unwrap();
        let scope = BTreeSet::from(["read".to_owned(), "write".to_owned()]);
        assert_eq!(bearer, Bearer { subject: "alice".into(), scope, lifetime: MINUTE }, "{algorithm}");
        // Another key of the same name has not signed it.
        let others = match signer {
            Signer::Rsa(_) => continue,
            Signer::Ec(..) => Signer::for_algorithm(algorithm).keys("k"),
        };
        assert_eq!(check(&token, &others), Err(TokenError::Signature));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// One character is another, is gone, or is there twice.
    #[test]
    fn whatever_is_changed_in_a_token_it_is_not_taken(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=+/-]", how in 0..3) {
        thread_local! {
            static TOKEN: (String, KeySet) = {
                let signer = Signer::ec(Algorithm::Es256);
                (signer.sign(Algorithm::Es256, "k", &claims(json!({}))), signer.keys("k"))
            };
        }
        TOKEN.with(|(token, keys)| {
            let at = at.index(token.len());
            let (before, rest) = token.split_at(at);
            let changed = match how {
                0 => format!("{before}{to}{}", &rest[1..]),
                1 => format!("{before}{}", &rest[1..]),
                _ => format!("{before}{to}{rest}"),
            };
            prop_assume!(changed != *token);
            prop_assert!(check(&changed, keys).is_err(), "{}", changed);
            Ok(())
        })?;
    }

    #[test]
    fn no_text_is_more_than_refused(token in "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,60}){0,5}", json in any::<String>()) {
        let keys = Signer::ec(Algorithm::Es256).keys("k");
        prop_assert!(check(&token, &keys).is_err());
        let inside = format!("{}.{}.AAAA", BASE64.encode(&json), BASE64.encode(&json));
        prop_assert!(check(&inside, &keys).is_err());
        let _ = KeySet::parse(json.as_bytes());
        let _ = Claims::unchecked(&inside).map(|claims| claims.expires());
    }
}

#[test]
fn a_token_does_not_say_by_which_rules_it_is_checked() {
    let signer = Signer::rsa();
    let keys = signer.keys("k");
    let body = claims(json!({})).to_string();
    let with = |header: Value, signature: &[u8]| {
        format!("{}.{}.{}", BASE64.encode(header.to_string()), BASE64.encode(&body), BASE64.encode(signature))
    };
    for name in [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "rs256", "RS256 ", "ES256K", "EdDSA",
        "dir",
    ] {
        let error = check(&with(json!({"alg": name, "kid": "k"}), b""), &keys).unwrap_err();
        assert_eq!(error, TokenError::Algorithm(name.to_owned()));
    }
    // The public key, which anybody has, as the secret of a code.
    let jwk = signer.jwk("k");
    for secret in [jwk["n"].as_str().unwrap().as_bytes().to_vec(), jwk.to_string().into_bytes()] {
        let header = json!({"alg": "HS256", "kid": "k"});
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(&body));
        let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert!(matches!(check(&with(header, code.as_ref()), &keys), Err(TokenError::Algorithm(_))));
    }
    // An algorithm of another kind than the key, or than the key is for.
    let other = |id: &str, algorithm| TokenError::OtherKey { id: Some(id.to_owned()), algorithm };
    assert_eq!(
        check(&with(json!({"alg": "ES256", "kid": "k"}), &[1; 64]), &keys),
        Err(other("k", Algorithm::Es256))
    );
    let mut only = signer.jwk("k");
    only["alg"] = json!("PS256");
    let token = signer.sign(Algorithm::Rs256, "k", &claims(json!({})));
    assert_eq!(check(&token, &set(&[only])), Err(other("k", Algorithm::Rs256)));
    // The right key, but the other padding.
    let mut parts = token.split('.').map(str::to_owned).collect::<Vec<_>>();
    parts[0] = BASE64.encode(json!({"alg": "PS256", "kid": "k"}).to_string());
    assert_eq!(check(&parts.join("."), &keys), Err(TokenError::Signature));
    // A key that the token brings along is nobody's.
    let mallory = Signer::ec(Algorithm::Es256);
    let header = json!({"alg": "ES256", "jwk": mallory.jwk("k"), "jku": "https://mallory.example/keys"});
    let token = mallory.sign_parts(Algorithm::Es256, &header.to_string(), &body);
    assert_eq!(check(&token, &keys), Err(TokenError::UnknownKey { id: None }));
    // Whoever knows no extension must not take a token that asks for one.
    let header = json!({"alg": "RS256", "kid": "k", "crit": ["exp"], "exp": NOW}).to_string();
    let token = signer.sign_parts(Algorithm::Rs256, &header, &body);
    assert!(matches!(check(&token, &keys), Err(TokenError::Malformed(_))));
}

#[test]
fn a_key_is_found_by_its_name_or_without_one_by_what_it_is() {
    let (first, second) = (Signer::ec(Algorithm::Es256), Signer::ec(Algorithm::Es256));
    let token = |signer: &Signer, header: Value| {
        signer.sign_parts(Algorithm::Es256, &header.to_string(), &claims(json!({})).to_string())
    };
    let keys = set(&[Signer::rsa().jwk("a"), first.jwk("a"), second.jwk("b")]);
    assert!(keys.has("a") && !keys.has("c") && keys.len() == 3);
    assert!(
        check(&token(&first, json!({"alg": "ES256", "kid": "a"})), &keys).is_ok(),
        "a name may be there twice"
    );
    assert!(check(&token(&second, json!({"alg": "ES256"})), &keys).is_ok());
    let unknown = check(&token(&first, json!({"alg": "ES256", "kid": "c"})), &keys);
    assert_eq!(unknown, Err(TokenError::UnknownKey { id: Some("c".into()) }));
    assert_eq!(check(&token(&first, json!({"alg": "ES256", "kid": "b"})), &keys), Err(TokenError::Signature));
    let number = check(&token(&first, json!({"alg": "ES256", "kid": 1})), &keys);
    assert!(matches!(number, Err(TokenError::Malformed(_))), "{number:?}");
    let long = check(&token(&first, json!({"alg": "ES256", "kid": "k".repeat(1001)})), &keys);
    assert!(matches!(long, Err(TokenError::Malformed(_))), "{long:?}");
}

#[test]
fn claims_are_what_they_must_be() {
    let judge = |edit| judged(&checks(), edit, NOW);
    for (edit, name) in [
        (json!({"exp": null}), "exp"),
        (json!({"exp": "1800000060"}), "exp"),
        (json!({"exp": -1}), "exp"),
        (json!({"exp": -0.5}), "exp"),
        (json!({"exp": 1e300}), "exp"),
        (json!({"exp": u64::MAX}), "exp"),
        (json!({"exp": NOW * 1000}), "exp"),
        (json!({"exp": [NOW + 60]}), "exp"),
        (json!({"exp": NOW - 1}), "exp"),
        (json!({"nbf": NOW + 61}), "exp"),
        (json!({"iat": null}), "iat"),
        (json!({"iat": "now"}), "iat"),
        (json!({"nbf": true}), "nbf"),
        (json!({"iss": 1}), "iss"),
        (json!({"aud": 1}), "aud"),
        (json!({"aud": ["kafka", 1]}), "aud"),
        (json!({"sub": null}), "sub"),
        (json!({"sub": " "}), "sub"),
        (json!({"sub": ["alice"]}), "sub"),
        (json!({"sub": "a".repeat(1025)}), "sub"),
        (json!({"scope": ["a", "a"]}), "scope"),
        (json!({"scope": ["a", 1]}), "scope"),
        (json!({"scope": [""]}), "scope"),
    ] {
        assert_eq!(claim(&judge(edit.clone()).unwrap_err()), name, "{edit}");
    }
    let expected = |found: Option<&str>| TokenError::Issuer {
        found: found.map(str::to_owned),
        expected: "https://id.example".into(),
    };
    assert_eq!(judge(json!({"iss": null})), Err(expected(None)));
    assert_eq!(judge(json!({"iss": "https://id.example/"})), Err(expected(Some("https://id.example/"))));
    let expected = |found: &[&str]| TokenError::Audience {
        found: found.iter().map(|&one| one.to_owned()).collect(),
        expected: vec!["kafka".into()],
    };
    assert_eq!(judge(json!({"aud": null})), Err(expected(&[])));
    assert_eq!(judge(json!({"aud": "kafka2"})), Err(expected(&["kafka2"])));
    assert_eq!(judge(json!({"aud": []})), Err(expected(&[])));
    // What is taken.
    for edit in [
        json!({"aud": ["x", "kafka"]}),
        json!({"exp": NOW as f64 + 60.5}),
        json!({"nbf": NOW}),
        json!({"scope": {"a": 1}}),
        json!({"sub": " alice "}),
        json!({"iat": NOW + 30}),
    ] {
        assert_eq!(judge(edit.clone()).unwrap().subject, "alice", "{edit}");
    }
    // Who and what are found by the claims that are named for it; what is not asked for is not looked at.
    let other = Checks { subject_claim: "azp".into(), scope_claim: "scp".into(), ..Checks::default() };
    let bearer =
        judged(&other, json!({"aud": "x", "iss": null, "azp": "a-program", "scp": "all of it"}), NOW)
            .unwrap();
    assert_eq!((bearer.subject.as_str(), bearer.scope.len()), ("a-program", 1));
    assert_eq!(claim(&judged(&other, json!({}), NOW).unwrap_err()), "azp");
}

#[test]
fn clocks_may_differ_by_what_is_allowed_and_no_more() {
    let at = |now| judged(&checks(), json!({"nbf": NOW}), now).map(|bearer| bearer.lifetime.as_secs());
    assert_eq!(at(NOW - 31), Err(TokenError::NotYet { within: Duration::from_secs(31) }));
    assert_eq!(at(NOW - 30), Ok(90));
    assert_eq!(at(NOW + 59), Ok(1));
    // Past its end the session is as short as the clocks may differ, but there is one.
    assert_eq!(at(NOW + 60), Ok(30));
    assert_eq!(at(NOW + 89), Ok(1));
    assert_eq!(at(NOW + 90), Err(TokenError::Expired { ago: Duration::from_secs(30) }));
    let strict = Checks { clock_skew: Duration::ZERO, ..checks() };
    assert!(judged(&strict, json!({}), NOW + 59).is_ok());
    assert_eq!(judged(&strict, json!({}), NOW + 60), Err(TokenError::Expired { ago: Duration::ZERO }));
    assert!(matches!(judged(&strict, json!({"nbf": NOW + 1}), NOW), Err(TokenError::NotYet { .. })));
}

#[test]
fn what_is_there_twice_is_not_chosen_from() {
    let signer = Signer::ec(Algorithm::Es256);
    let keys = signer.keys("k");
    let twice = format!(r#"{{"sub":"alice","sub":"admin","iat":{NOW},"exp":{}}}"#, NOW + 60);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let error = check(&signer.sign_parts(Algorithm::Es256, header, &twice), &keys);
    assert!(matches!(error, Err(TokenError::Malformed(_))), "{error:?}");
    let twice = r#"{"alg":"none","alg":"ES256","kid":"k"}"#;
    let error = check(&signer.sign_parts(Algorithm::Es256, twice, &claims(json!({})).to_string()), &keys);
    assert!(matches!(error, Err(TokenError::Malformed(_))), "{error:?}");
    assert!(KeySet::parse(br#"{"keys":[],"keys":[]}"#).is_err());
}

#[test]
fn giants_and_depths_are_refused_before_they_cost_anything() {
    let keys = Signer::rsa().keys("k");
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(check(&long, &keys), Err(TokenError::TooLong { bytes: TOKEN_BYTES_MAX + 1 }));
    let deep = BASE64.encode(format!("{{\"alg\":{}", "[".repeat(3_000)));
    let long_header = BASE64.encode(json!({"alg": "RS256", "x": "y".repeat(4_000)}).to_string());
    let header = BASE64.encode(json!({"alg": "RS256", "kid": "k"}).to_string());
    for token in [
        format!("{deep}.e30.AAAA"),
        format!("{long_header}.e30.AAAA"),
        format!("{header}.e30.{}", "A".repeat(1_500)),
        format!("{header}.e30.AAAA.e30.AAAA"),
        format!("{header}.e30.AAAA."),
        format!("{header}.e30"),
        format!("{header}=.e30.AAAA"),
        format!("{header}.e30.AAB"), // bits that mean nothing
        "..".to_owned(),
        String::new(),
    ] {
        let error = check(&token, &keys);
        assert!(matches!(error, Err(TokenError::Malformed(_))), "{error:?}");
    }
    let deep = format!("{{\"keys\":{}", "[".repeat(1_000_000));
    assert!(matches!(KeySet::parse(deep.as_bytes()), Err(KeySetError::Malformed(_))));
    let many = vec![json!({}); 257];
    let many = json!({"keys": many}).to_string();
    assert_eq!(KeySet::parse(many.as_bytes()), Err(KeySetError::TooMany { keys: 257 }));
}

#[test]
fn keys_that_check_no_signature_are_passed_over_and_named() {
    let (rsa, ec) = (Signer::rsa(), Signer::ec(Algorithm::Es384));
    let with = |mut jwk: Value, edit: Value| {
        edit.as_object().unwrap().iter().for_each(|(name, value)| jwk[name] = value.clone());
        jwk
    };
    let useless = [
        json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({}),
        with(rsa.jwk("x"), json!({"use": "enc"})),
        with(rsa.jwk("x"), json!({"key_ops": ["encrypt"]})),
        with(rsa.jwk("x"), json!({"n": "AQAB"})),
        with(rsa.jwk("x"), json!({"n": 5})),
        with(rsa.jwk("x"), json!({"e": ""})),
        with(rsa.jwk("x"), json!({"alg": "RSA-OAEP"})),
        with(rsa.jwk("x"), json!({"alg": "ES256"})),
        with(ec.jwk("x"), json!({"alg": "ES256"})),
        with(ec.jwk("x"), json!({"crv": "P-521"})),
        with(ec.jwk("x"), json!({"x": "AQAB"})),
    ];
    for key in &useless {
        let error = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes());
        assert!(matches!(error, Err(KeySetError::Useless(Some(_)))), "{key}: {error:?}");
    }
    let mut all = useless.to_vec();
    all.push(with(rsa.jwk("k"), json!({"use": "sig", "key_ops": ["verify"], "x5c": ["..."]})));
    let keys = set(&all);
    assert_eq!((keys.len(), keys.ignored().len()), (1, useless.len()));
    assert!(keys.ignored()[0].why.contains("shared secret"));
    assert!(check(&rsa.sign(Algorithm::Rs256, "k", &claims(json!({}))), &keys).is_ok());
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[]}"#, "<html>"] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
    // Some providers write a zero before a number.
    let zero = |text: &str| BASE64.encode([&[0][..], &BASE64.decode(text).unwrap()].concat());
    let jwk = rsa.jwk("k");
    let padded = with(jwk.clone(), json!({"n": zero(jwk["n"].as_str().unwrap())}));
    assert!(check(&rsa.sign(Algorithm::Ps512, "k", &claims(json!({}))), &set(&[padded])).is_ok());
}

#[test]
fn what_is_said_of_a_token_shows_nothing_that_lets_in_and_nothing_to_a_terminal() {
    let signer = Signer::rsa();
    let token = signer.sign(Algorithm::Rs256, "\u{1b}[2J", &claims(json!({})));
    let said = check(&token, &signer.keys("k")).unwrap_err().to_string();
    assert_eq!(said, "the token's key `\\u{1b}[2J` is not known");
    let said = judged(&checks(), json!({"aud": vec!["x".repeat(100); 100]}), NOW).unwrap_err().to_string();
    assert!(said.len() < 1_000 && said.ends_with("..., expected is `kafka`"), "{said}");
    assert_eq!(
        judged(&checks(), json!({}), NOW + 3_660).unwrap_err().to_string(),
        "the token has expired 3600 s ago"
    );
}
