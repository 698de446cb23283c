//! The provider on `ring` against answers that others gave: FIPS 180-4, RFC 4231, 5869, 6979, 8439, the GCM specification,
//! and OpenSSL.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod known;

use known::{OpenSsl, hex};
use tdisp::crypto::{
    Ability, AeadAlg, CryptoError, ExchangeAlg, HashAlg, Provider, Ring, RingSigner, Secret, SignAlg,
    Signable, Signer, digest, hkdf_expand,
    x509::{KeyKind, PublicKey, X509Error, path},
};
use tdisp::spdm::pkcs10;

#[test]
fn hashes_are_those_of_fips_180_4() {
    let known = [
        (
            HashAlg::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            HashAlg::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            HashAlg::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ];
    for (alg, wanted) in known {
        assert_eq!(digest(&Ring, alg, b"abc").as_ref(), hex(wanted), "{alg}");
        let mut running = Ring.hash(alg);
        running.update(b"a");
        let mut fork = running.fork();
        running.update(b"x");
        fork.update(b"bc");
        assert_eq!(fork.digest().as_ref(), hex(wanted), "{alg}, forked");
    }
}

#[test]
fn macs_and_derived_keys_are_those_of_rfc_4231_and_5869() {
    let known = [
        (
            HashAlg::Sha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            HashAlg::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e
             8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            HashAlg::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    for (alg, wanted) in known {
        let mac = Ring.hmac(alg, b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac.expose(), hex(wanted), "{alg}");
    }
    // RFC 5869 A.1.
    let prk = Secret::new(hex(
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
    ));
    let info = hex("f0f1f2f3f4f5f6f7f8f9");
    let derived = hkdf_expand(&Ring, HashAlg::Sha256, &prk, &[&info[..3], &info[3..]], 42);
    let wanted = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    assert_eq!(derived.expose(), hex(wanted));
}

/// Key, nonce, AAD, plaintext, and ciphertext with its tag.
type Sealed = (
    AeadAlg,
    &'static str,
    &'static str,
    &'static str,
    Vec<u8>,
    &'static str,
);

/// Test cases 4 and 16 of the GCM specification (McGrew, Viega), and RFC 8439 §2.8.2.
fn sealed() -> [Sealed; 3] {
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let sunscreen =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    [
        (
            AeadAlg::Aes128Gcm,
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            aad,
            hex(plain),
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            AeadAlg::Aes256Gcm,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            aad,
            hex(plain),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        ),
        (
            AeadAlg::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            sunscreen.to_vec(),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
        ),
    ]
}

#[test]
fn records_are_sealed_as_others_seal_them() {
    for (alg, key, nonce, aad, plain, wanted) in sealed() {
        let aead = Ring.aead(alg, &hex(key)).unwrap();
        let (nonce, aad): ([u8; 12], _) = (hex(nonce).try_into().unwrap(), hex(aad));
        let mut data = plain.clone();
        let tag = aead.seal(nonce, &aad, &mut data).unwrap();
        data.extend(tag);
        assert_eq!(data, hex(wanted), "{alg:?}");
        assert_eq!(aead.open(nonce, &aad, &mut data).unwrap(), plain, "{alg:?}");
    }
}

#[test]
fn a_record_that_was_changed_anywhere_does_not_open() {
    for (alg, key, nonce, aad, _, wanted) in sealed() {
        let aead = Ring.aead(alg, &hex(key)).unwrap();
        let (nonce, aad): ([u8; 12], _) = (hex(nonce).try_into().unwrap(), hex(aad));
        let refused = |nonce, aad: &[u8], mut data: Vec<u8>| {
            let opened = aead.open(nonce, aad, &mut data).map(drop);
            assert_eq!(opened, Err(CryptoError::BadTag), "{alg:?}");
        };
        for at in 0..hex(wanted).len() {
            let mut data = hex(wanted);
            data[at] ^= 1;
            refused(nonce, &aad, data);
        }
        let mut other = nonce;
        other[0] ^= 1;
        refused(other, &aad, hex(wanted));
        refused(nonce, &aad[1..], hex(wanted));
        refused(nonce, &aad, hex(wanted)[..15].to_vec());
    }
    for (alg, size) in AeadAlg::ALL
        .into_iter()
        .flat_map(|alg| (0..48).map(move |size| (alg, size)))
    {
        let made = Ring.aead(alg, &vec![7; size]).is_ok();
        assert_eq!(made, size == alg.key_size(), "{alg:?}, a key of {size} bytes");
    }
}

/// RFC 6979 A.2.5 and A.2.6, over "sample".
#[test]
fn ecdsa_signatures_of_rfc_6979_verify_with_either_hash_on_either_curve() {
    let p256 = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6
                7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    let p384 = "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13
                8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720";
    let known = [
        (
            SignAlg::EcdsaP256,
            HashAlg::Sha256,
            p256,
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716
             f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            SignAlg::EcdsaP256,
            HashAlg::Sha384,
            p256,
            "0eafea039b20e9b42309fb1d89e213057cbf973dc0cfc8f129edddc800ef7719
             4861f0491e6998b9455193e34e7b0d284ddd7149a74b95b9261f13abde940954",
        ),
        (
            SignAlg::EcdsaP384,
            HashAlg::Sha256,
            p384,
            "21b13d1e013c7fa1392d03c5f99af8b30c570c6f98d4ea8e354b63a21d3daa33bde1e888e63355d92fa2b3c36d8fb2cd
             f3aa443fb107745bf4bd77cb3891674632068a10ca67e3d45db2266fa7d1feebefdc63eccd1ac42ec0cb8668a4fa0ab0",
        ),
        (
            SignAlg::EcdsaP384,
            HashAlg::Sha384,
            p384,
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46
             99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
        ),
    ];
    for (alg, hash, key, signature) in known {
        let what = Signable::plain(hash, b"sample");
        let (key, signature) = (hex(key), hex(signature));
        assert_eq!(Ring.verify(alg, &key, &what, &signature), Ok(()), "{alg} {hash}");
        let zeros = vec![0; signature.len()];
        let refused = Ring.verify(alg, &key, &what, &zeros);
        assert_eq!(refused, Err(CryptoError::BadSignature), "{alg} {hash}, zeros");
    }
}

#[test]
fn signatures_by_openssl_verify_and_altered_ones_do_not() {
    let known = OpenSsl::read();
    let message = known.message();
    let mut seen = 0;
    for signed in known.signed_by(false) {
        let key = signed.public_key();
        let verify = |alg, what: &Signable<'_>, signature: &[u8]| Ring.verify(alg, &key, what, signature);
        let (name, what) = (&signed.name, signed.what(&message));
        assert!(Ring.supports(Ability::Verify(signed.alg, signed.hash)), "{name}");
        assert_eq!(verify(signed.alg, &what, &signed.signature), Ok(()), "{name}");
        let bad = Err(CryptoError::BadSignature);
        for at in (0..signed.signature.len()).step_by(5) {
            let mut altered = signed.signature.clone();
            altered[at] ^= 0x10;
            assert_eq!(verify(signed.alg, &what, &altered), bad, "{name}: byte {at}");
        }
        let longer = [&signed.signature[..], &[0]].concat();
        for wrong in [&longer[..], &longer[1..], &signed.signature[1..], &[]] {
            assert_eq!(
                verify(signed.alg, &what, wrong),
                bad,
                "{name}: {} bytes",
                wrong.len()
            );
        }
        let other = Signable::plain(signed.hash, &message[1..]);
        assert_eq!(verify(signed.alg, &other, &signed.signature), bad, "{name}");
        for alg in SignAlg::ALL.into_iter().filter(|alg| *alg != signed.alg) {
            assert!(verify(alg, &what, &signed.signature).is_err(), "{name} as {alg}");
        }
        for hash in HashAlg::ALL.into_iter().filter(|hash| *hash != signed.hash) {
            let what = Signable::plain(hash, &message);
            assert!(
                verify(signed.alg, &what, &signed.signature).is_err(),
                "{name} as {hash}"
            );
        }
        seen += 1;
    }
    assert_eq!(
        seen,
        18 + 4,
        "RSA in two ways, three sizes and three hashes; ECDSA on two curves with two hashes"
    );
}

#[test]
fn what_we_sign_verifies_with_every_hash_that_the_key_goes_with() {
    let known = OpenSsl::read();
    let message = known.message();
    for signed in known.signed_by(false) {
        let signer = RingSigner::from_pkcs8(signed.alg, &signed.key.pkcs8).unwrap();
        assert_eq!(signed.public_key(), signer.public_key(), "{}", signed.name);
        let what = signed.what(&message);
        match signer.sign(&what) {
            Ok(signature) => {
                assert!(signer.signs_with(signed.hash));
                assert_eq!(signature.len(), signed.alg.signature_size());
                let verified = Ring.verify(signed.alg, signer.public_key(), &what, &signature);
                assert_eq!(verified, Ok(()), "{}", signed.name);
            }
            // ring signs with a curve's own hash alone.
            Err(error) => {
                assert!(!signer.signs_with(signed.hash), "{}: {error}", signed.name);
                assert!(
                    matches!(error, CryptoError::Unsupported(_)),
                    "{}: {error}",
                    signed.name
                );
            }
        }
    }
}

#[test]
fn a_private_key_of_another_algorithm_or_size_is_refused() {
    let known = OpenSsl::read();
    for signed in known.signed_by(false) {
        for alg in SignAlg::ALL {
            let made = RingSigner::from_pkcs8(alg, &signed.key.pkcs8).is_ok();
            let right = PublicKey::from_der(&signed.key.spki)
                .unwrap()
                .for_alg(alg)
                .is_ok();
            assert_eq!(made, right, "{} as {alg}", signed.name);
        }
        let cut = &signed.key.pkcs8[..signed.key.pkcs8.len() - 1];
        assert!(RingSigner::from_pkcs8(signed.alg, cut).is_err());
    }
}

#[test]
fn both_sides_of_a_key_agreement_come_to_the_same_secret_and_a_bad_point_is_refused() {
    for alg in [ExchangeAlg::EcdhP256, ExchangeAlg::EcdhP384] {
        let requester = Ring.key_agreement(alg).unwrap();
        assert_eq!(requester.public().len(), alg.request_size());
        let responder = Ring.encapsulate(alg, requester.public()).unwrap();
        assert_eq!(responder.answer.len(), alg.response_size());
        let public = requester.public().to_vec();
        let secret = requester.agree(&responder.answer).unwrap();
        assert_eq!(secret.expose(), responder.secret.expose(), "{alg}");
        assert_eq!(
            secret.expose().len(),
            alg.request_size() / 2,
            "{alg}: the x coordinate"
        );
        let mut off_curve = public.clone();
        off_curve[0] ^= 1;
        for bad in [
            &off_curve[..],
            &public[1..],
            &[],
            &vec![0; public.len()],
            &vec![0xff; public.len()],
        ] {
            let refused = Ring.encapsulate(alg, bad).unwrap_err();
            assert!(matches!(refused, CryptoError::BadKey(_)), "{alg}: {refused}");
            assert!(Ring.key_agreement(alg).unwrap().agree(bad).is_err(), "{alg}");
        }
    }
}

#[test]
fn what_ring_does_not_have_is_not_offered_and_refused_when_asked_for() {
    for alg in ExchangeAlg::ALL.into_iter().filter(|alg| alg.is_kem()) {
        assert!(!Ring.supports(Ability::Exchange(alg)));
        assert!(matches!(
            Ring.key_agreement(alg),
            Err(CryptoError::Unsupported(_))
        ));
        assert!(matches!(
            Ring.encapsulate(alg, &[0; 1184]),
            Err(CryptoError::Unsupported(_))
        ));
    }
    for alg in SignAlg::ALL.into_iter().filter(|alg| alg.is_post_quantum()) {
        let what = Signable::plain(HashAlg::Sha384, b"");
        let refused = Ring.verify(alg, &[], &what, &vec![0; alg.signature_size()]);
        assert!(matches!(refused, Err(CryptoError::Unsupported(_))));
        assert!(!Ring.supports(Ability::Verify(alg, HashAlg::Sha384)));
    }
    assert!(!Ring.supports(Ability::Verify(SignAlg::EcdsaP256, HashAlg::Sha512)));
    assert!(!Ring.supports(Ability::Verify(SignAlg::EcdsaP384, HashAlg::Sha512)));
}

#[test]
fn a_certificate_that_the_provider_cannot_verify_is_told_apart_from_one_that_nobody_signed() {
    let mut found = 0;
    for issued in OpenSsl::read().certificates() {
        if let Some(alg) = SignAlg::ALL
            .into_iter()
            .find(|alg| alg.to_string() == issued.name)
        {
            let key = issuer_key(&issued.issuer);
            let refused = key.check_signed(&issued.subject, &Ring).unwrap_err();
            assert_eq!(refused, X509Error::Unsupported(alg));
            let text = path::Fault::from(refused).to_string();
            assert!(
                text.ends_with("cannot verify that: build it with the feature `post-quantum`"),
                "{text}"
            );
            found += 1;
        }
    }
    assert_eq!(found, 3, "one of each ML-DSA");
}

#[test]
fn certificates_by_openssl_are_signed_by_their_issuer_and_by_nobody_else() {
    let known = OpenSsl::read();
    let certificates: Vec<_> = known.certificates();
    let classical = |name: &str| !name.starts_with("ML-DSA");
    for issued in certificates.iter().filter(|issued| classical(&issued.name)) {
        let (name, key) = (&issued.name, issuer_key(&issued.issuer));
        assert_eq!(key.check_signed(&issued.issuer, &Ring), Ok(()), "{name}, itself");
        assert_eq!(key.check_signed(&issued.subject, &Ring), Ok(()), "{name}");
        for at in (0..issued.subject.len()).step_by(3) {
            let mut altered = issued.subject.clone();
            altered[at] ^= 1;
            assert!(key.check_signed(&altered, &Ring).is_err(), "{name}: byte {at}");
            assert!(
                key.check_signed(&issued.subject[..at], &Ring).is_err(),
                "{name}: cut at {at}"
            );
        }
        let trailing = [&issued.subject[..], &[0]].concat();
        assert!(key.check_signed(&trailing, &Ring).is_err(), "{name}");
        for other in &certificates {
            let other_key = issuer_key(&other.issuer);
            if other_key != key {
                assert!(
                    other_key.check_signed(&issued.subject, &Ring).is_err(),
                    "{name} by {}",
                    other.name
                );
            }
        }
    }
}

fn issuer_key(certificate: &[u8]) -> PublicKey {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    PublicKey::from_der(certificate.public_key().raw).unwrap()
}

#[test]
fn a_public_key_without_a_certificate_is_read_whole_or_not_at_all() {
    let known = OpenSsl::read();
    let kinds = [
        ("P256", KeyKind::P256),
        ("P384", KeyKind::P384),
        ("Rsa2048", KeyKind::Rsa(2048)),
        ("Rsa3072", KeyKind::Rsa(3072)),
        ("Rsa4096", KeyKind::Rsa(4096)),
        ("MlDsa44", KeyKind::MlDsa44),
        ("MlDsa65", KeyKind::MlDsa65),
        ("MlDsa87", KeyKind::MlDsa87),
    ];
    for (name, kind) in kinds {
        let spki = known.key(name).spki;
        assert_eq!(PublicKey::from_der(&spki).map(|key| key.kind()), Ok(kind));
        for end in 0..spki.len() {
            assert!(PublicKey::from_der(&spki[..end]).is_err(), "{name}: cut at {end}");
        }
        assert!(
            PublicKey::from_der(&[&spki[..], &[0]].concat()).is_err(),
            "{name}, longer"
        );
    }
    let key = PublicKey::from_der(&known.key("P256").spki).unwrap();
    let text = key.for_alg(SignAlg::EcdsaP384).unwrap_err().to_string();
    assert_eq!(text, "the key is for ECDSA P-256, wanted one for ECDSA P-384");
    // Ed25519, RFC 8410 §10.1.
    let ed25519 =
        hex("302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    let found = PublicKey::from_der(&ed25519).unwrap_err();
    assert_eq!(
        found,
        X509Error::Algorithm {
            found: "1.3.101.112".into()
        }
    );
}

#[test]
fn a_key_is_written_to_the_byte_as_openssl_writes_it() {
    let known = OpenSsl::read();
    for signed in known.signed() {
        let key = PublicKey::from_der(&signed.key.spki).unwrap();
        let written = pkcs10::public_key_info(signed.alg, key.for_alg(signed.alg).unwrap());
        assert_eq!(written, signed.key.spki, "{}", signed.name);
    }
}
