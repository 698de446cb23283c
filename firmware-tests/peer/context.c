// SPDX-License-Identifier: Apache-2.0
/* libspdm set up: versions, algorithms, capabilities, and whom to trust. */
#include <stdlib.h>

#include "library/spdm_requester_lib.h"
#include "library/spdm_responder_lib.h"
#include "spdm_device_secret_lib_internal.h"

#include "peer.h"

#define CHAIN_MAX 0x1000

static void set(void *spdm, libspdm_data_type_t type, uint8_t slot, void *value, size_t size)
{
	libspdm_data_parameter_t where = { .location = LIBSPDM_DATA_LOCATION_LOCAL, .additional_data = { slot } };

	if (libspdm_set_data(spdm, type, &where, value, size))
		fail("libspdm does not take setting %d", type);
}

static void set8(void *spdm, libspdm_data_type_t type, uint8_t slot, uint8_t value)
{
	set(spdm, type, slot, &value, sizeof(value));
}

static void set16(void *spdm, libspdm_data_type_t type, uint8_t slot, uint16_t value)
{
	set(spdm, type, slot, &value, sizeof(value));
}

static void set32(void *spdm, libspdm_data_type_t type, uint32_t value)
{
	set(spdm, type, 0, &value, sizeof(value));
}

static void algorithms(void *spdm, const struct options *options)
{
	const struct suite *suite = options->suite;

	set16(spdm, LIBSPDM_DATA_SPDM_VERSION, 0, options->version << SPDM_VERSION_NUMBER_SHIFT_BIT);
	if (options->secured)
		set16(spdm, LIBSPDM_DATA_SECURED_MESSAGE_VERSION, 0, options->secured << SPDM_VERSION_NUMBER_SHIFT_BIT);
	set8(spdm, LIBSPDM_DATA_MEASUREMENT_SPEC, 0, SPDM_MEASUREMENT_SPECIFICATION_DMTF);
	set8(spdm, LIBSPDM_DATA_MEL_SPEC, 0, SPDM_MEL_SPECIFICATION_DMTF);
	set32(spdm, LIBSPDM_DATA_MEASUREMENT_HASH_ALGO, suite->measurement_hash);
	set32(spdm, LIBSPDM_DATA_BASE_ASYM_ALGO, suite->sign);
	set16(spdm, LIBSPDM_DATA_REQ_BASE_ASYM_ALG, 0, suite->requester_sign);
	set32(spdm, LIBSPDM_DATA_BASE_HASH_ALGO, suite->hash);
	set16(spdm, LIBSPDM_DATA_DHE_NAME_GROUP, 0, suite->exchange);
	set16(spdm, LIBSPDM_DATA_AEAD_CIPHER_SUITE, 0, suite->aead);
	set16(spdm, LIBSPDM_DATA_KEY_SCHEDULE, 0, SPDM_ALGORITHMS_KEY_SCHEDULE_HMAC_HASH);
	set8(spdm, LIBSPDM_DATA_OTHER_PARAMS_SUPPORT, 0, SPDM_ALGORITHMS_OPAQUE_DATA_FORMAT_1);
}

#define REQUESTER(name) SPDM_GET_CAPABILITIES_REQUEST_FLAGS_##name
#define RESPONDER(name) SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_##name

static uint32_t requester_flags(const struct options *options)
{
	uint32_t flags = REQUESTER(CERT_CAP) | REQUESTER(CHAL_CAP) | REQUESTER(ENCRYPT_CAP) | REQUESTER(MAC_CAP) |
			 REQUESTER(KEY_EX_CAP) | REQUESTER(HBEAT_CAP) | REQUESTER(KEY_UPD_CAP) | REQUESTER(CHUNK_CAP);

	if (options->authenticates)
		flags |= REQUESTER(MUT_AUTH_CAP) | REQUESTER(ENCAP_CAP);
	if (options->answers)
		flags |= REQUESTER(ENCAP_CAP);
	if (options->multi_key)
		flags |= REQUESTER(MULTI_KEY_CAP_ONLY);
	if (options->psk)
		flags |= REQUESTER(PSK_CAP_REQUESTER);
	if (options->clear)
		flags |= REQUESTER(HANDSHAKE_IN_THE_CLEAR_CAP);
	return flags;
}

static uint32_t responder_flags(const struct options *options)
{
	uint32_t flags = RESPONDER(CHAL_CAP) | RESPONDER(MEAS_CAP_SIG) | RESPONDER(ENCRYPT_CAP) | RESPONDER(MAC_CAP) |
			 RESPONDER(KEY_EX_CAP) | RESPONDER(HBEAT_CAP) | RESPONDER(KEY_UPD_CAP) | RESPONDER(CHUNK_CAP);

	flags |= options->public_key ? RESPONDER(PUB_KEY_ID_CAP) : RESPONDER(CERT_CAP);
	if (options->alias)
		flags |= RESPONDER(ALIAS_CERT_CAP);
	if (options->multi_key)
		flags |= RESPONDER(MULTI_KEY_CAP_ONLY) | RESPONDER(GET_KEY_PAIR_INFO_CAP);
	if (options->asks_keys)
		flags |= RESPONDER(ENCAP_CAP);
	if (options->mutual != MUTUAL_NONE)
		flags |= RESPONDER(MUT_AUTH_CAP) | RESPONDER(ENCAP_CAP);
	if (options->psk && options->no_context)
		flags |= RESPONDER(PSK_CAP_RESPONDER);
	else if (options->psk)
		flags |= RESPONDER(PSK_CAP_RESPONDER_WITH_CONTEXT);
	if (options->clear)
		flags |= RESPONDER(HANDSHAKE_IN_THE_CLEAR_CAP);
	return flags;
}

static bool read_chain(const struct options *options, void **chain, size_t *size)
{
	const struct suite *suite = options->suite;

	if (!options->responder)
		return libspdm_read_requester_public_certificate_chain(suite->hash, suite->requester_sign, chain, size,
								       NULL, NULL);
	if (options->alias)
		return libspdm_read_responder_public_certificate_chain_alias_cert(suite->hash, suite->sign, chain, size,
										  NULL, NULL);
	return libspdm_read_responder_public_certificate_chain(suite->hash, suite->sign, chain, size, NULL, NULL);
}

static void show_chain(void *spdm, uint8_t slot, void *chain, size_t size)
{
	uint16_t uses = SPDM_KEY_USAGE_BIT_MASK_KEY_EX_USE | SPDM_KEY_USAGE_BIT_MASK_CHALLENGE_USE |
			SPDM_KEY_USAGE_BIT_MASK_MEASUREMENT_USE;

	set(spdm, LIBSPDM_DATA_LOCAL_PUBLIC_CERT_CHAIN, slot, chain, size);
	/* With several keys a connection tells more of them. */
	set8(spdm, LIBSPDM_DATA_LOCAL_KEY_PAIR_ID, slot, slot + 1);
	set8(spdm, LIBSPDM_DATA_LOCAL_CERT_INFO, slot, SPDM_CERTIFICATE_INFO_CERT_MODEL_DEVICE_CERT);
	set16(spdm, LIBSPDM_DATA_LOCAL_KEY_USAGE_BIT_MASK, slot, uses);
}

/* The sample keys of the working directory, and the root that the other side's chain must begin with. */
static void identity(void *spdm, const struct options *options)
{
	void *chain, *root, *key;
	size_t size;

	if (!read_chain(options, &chain, &size))
		fail("the sample keys are of no use");
	if (options->responder || options->authenticates) {
		set8(spdm, LIBSPDM_DATA_LOCAL_SUPPORTED_SLOT_MASK, 0, 1 | 1 << options->slot);
		set8(spdm, LIBSPDM_DATA_TOTAL_KEY_PAIRS, 0, 8);
		show_chain(spdm, 0, chain, size);
		show_chain(spdm, options->slot, chain, size);
	}
	if (options->public_key) {
		if (!libspdm_read_responder_public_key(options->suite->sign, &key, &size))
			fail("the sample keys are of no use");
		set(spdm, LIBSPDM_DATA_LOCAL_PUBLIC_KEY, 0, key, size);
	}
	if (options->peer_key) {
		file(options->peer_key, &key, &size);
		set(spdm, LIBSPDM_DATA_PEER_PUBLIC_KEY, 0, key, size);
	}
	if (options->root) {
		file(options->root, &root, &size);
		set(spdm, LIBSPDM_DATA_PEER_PUBLIC_ROOT_CERT, 0, root, size);
	}
}

/* Whether and how requesters are to authenticate themselves. */
static void mutual(void *spdm, const struct options *options)
{
	static const uint8_t asked[] = {
		[MUTUAL_ENCAP] = SPDM_KEY_EXCHANGE_RESPONSE_MUT_AUTH_REQUESTED_WITH_ENCAP_REQUEST,
		[MUTUAL_DIGESTS] = SPDM_KEY_EXCHANGE_RESPONSE_MUT_AUTH_REQUESTED_WITH_GET_DIGESTS,
		[MUTUAL_RAW] = SPDM_KEY_EXCHANGE_RESPONSE_MUT_AUTH_REQUESTED,
	};
	static uint8_t chain[CHAIN_MAX];

	set8(spdm, LIBSPDM_DATA_BASIC_MUT_AUTH_REQUESTED, 0, options->mutual == MUTUAL_BASIC);
	set8(spdm, LIBSPDM_DATA_MUT_AUTH_REQUESTED, 0, asked[options->mutual]);
	libspdm_register_cert_chain_buffer(spdm, chain, sizeof(chain));
}

void *context(const struct options *options)
{
	void *spdm = calloc(1, libspdm_get_context_size());
	uint32_t flags = options->responder ? responder_flags(options) : requester_flags(options);
	uint64_t round_trip_us = 0;
	void *scratch;
	size_t size;

	if (!spdm || libspdm_init_context(spdm))
		fail("libspdm does not begin");
	link_register(spdm, options);
	size = libspdm_get_sizeof_required_scratch_buffer(spdm);
	scratch = calloc(1, size);
	libspdm_set_scratch_buffer(spdm, scratch, size);
	set8(spdm, LIBSPDM_DATA_CAPABILITY_CT_EXPONENT, 0, 0);
	set(spdm, LIBSPDM_DATA_CAPABILITY_RTT_US, 0, &round_trip_us, sizeof(round_trip_us));
	set32(spdm, LIBSPDM_DATA_CAPABILITY_FLAGS, flags);
	algorithms(spdm, options);
	identity(spdm, options);
	if (options->responder) {
		set8(spdm, LIBSPDM_DATA_HEARTBEAT_PERIOD, 0, 60);
		mutual(spdm, options);
	}
	if (!libspdm_check_context(spdm))
		fail("libspdm does not take what it is told");
	return spdm;
}
