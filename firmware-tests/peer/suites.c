// SPDX-License-Identifier: Apache-2.0
/* Algorithms that go together. The sample keys decide which signatures there are. */
#include <stddef.h>
#include <stdint.h>

#include "industry_standard/spdm.h"

#include "peer.h"

#define SIGN(name) SPDM_ALGORITHMS_BASE_ASYM_ALGO_TPM_ALG_##name
#define HASH(size)                                       \
	SPDM_ALGORITHMS_BASE_HASH_ALGO_TPM_ALG_SHA_##size, \
	SPDM_ALGORITHMS_MEASUREMENT_HASH_ALGO_TPM_ALG_SHA_##size
#define EXCHANGE(name) SPDM_ALGORITHMS_DHE_NAMED_GROUP_##name
#define AEAD(name) SPDM_ALGORITHMS_AEAD_CIPHER_SUITE_##name

#define P256 SIGN(ECDSA_ECC_NIST_P256)
#define P384 SIGN(ECDSA_ECC_NIST_P384)

const struct suite suites[] = {
	{ "p384", P384, P384, HASH(384), EXCHANGE(SECP_384_R1), AEAD(AES_256_GCM) },
	{ "p256", P256, P256, HASH(256), EXCHANGE(SECP_256_R1), AEAD(AES_128_GCM) },
	{ "p384-chacha", P384, P384, HASH(384), EXCHANGE(SECP_256_R1), AEAD(CHACHA20_POLY1305) },
	{ "p256-chacha", P256, P256, HASH(256), EXCHANGE(SECP_384_R1), AEAD(CHACHA20_POLY1305) },
	{ "rsassa2048", SIGN(RSASSA_2048), P256, HASH(256), EXCHANGE(SECP_256_R1), AEAD(AES_128_GCM) },
	{ "rsapss3072", SIGN(RSAPSS_3072), P384, HASH(384), EXCHANGE(SECP_384_R1), AEAD(AES_256_GCM) },
	{ "rsapss4096", SIGN(RSAPSS_4096), P384, HASH(512), EXCHANGE(SECP_384_R1), AEAD(CHACHA20_POLY1305) },
	{ 0 },
};
