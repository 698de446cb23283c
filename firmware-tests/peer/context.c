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

#define SET(spdm, type, kind, value)                                                   \
	do {                                                                           \
		kind set_value = (kind)(value);                                        \
		set(spdm, LIBSPDM_DATA_##type, 0, &set_value, sizeof(set_value)); \
	} while (0)

static void algorithms(void *spdm, const struct options *options)
{
	const struct suite *suite = options->suite;

	SET(spdm, SPDM_VERSION, spdm_version_number_t, options->version << SPDM_VERSION_NUMBER_SHIFT_BIT);
	SET(spdm, MEASUREMENT_SPEC, uint8_t, SPDM_MEASUREMENT_SPECIFICATION_DMTF);
	SET(spdm, MEL_SPEC, uint8_t, SPDM_MEL_SPECIFICATION_DMTF);
	SET(spdm, MEASUREMENT_HASH_ALGO, uint32_t, suite->measurement_hash);
	SET(spdm, BASE_ASYM_ALGO, uint32_t, suite->sign);
	SET(spdm, REQ_BASE_ASYM_ALG, uint16_t, suite->requester_sign);
	SET(spdm, BASE_HASH_ALGO, uint32_t, suite->hash);
	SET(spdm, DHE_NAME_GROUP, uint16_t, suite->exchange);
	SET(spdm, AEAD_CIPHER_SUITE, uint16_t, suite->aead);
	SET(spdm, KEY_SCHEDULE, uint16_t, SPDM_ALGORITHMS_KEY_SCHEDULE_HMAC_HASH);
	SET(spdm, OTHER_PARAMS_SUPPORT, uint8_t, SPDM_ALGORITHMS_OPAQUE_DATA_FORMAT_1);
}

static uint32_t requester_flags(const struct options *options)
{
	uint32_t flags = SPDM_GET_CAPABILITIES_REQUEST_FLAGS_CERT_CAP | SPDM_GET_CAPABILITIES_REQUEST_FLAGS_CHAL_CAP |
			 SPDM_GET_CAPABILITIES_REQUEST_FLAGS_ENCRYPT_CAP | SPDM_GET_CAPABILITIES_REQUEST_FLAGS_MAC_CAP |
			 SPDM_GET_CAPABILITIES_REQUEST_FLAGS_KEY_EX_CAP | SPDM_GET_CAPABILITIES_REQUEST_FLAGS_HBEAT_CAP |
			 SPDM_GET_CAPABILITIES_REQUEST_FLAGS_KEY_UPD_CAP | SPDM_GET_CAPABILITIES_REQUEST_FLAGS_CHUNK_CAP;

	if (options->authenticates)
		flags |= SPDM_GET_CAPABILITIES_REQUEST_FLAGS_MUT_AUTH_CAP |
			 SPDM_GET_CAPABILITIES_REQUEST_FLAGS_ENCAP_CAP;
	if (options->psk)
		flags |= SPDM_GET_CAPABILITIES_REQUEST_FLAGS_PSK_CAP_REQUESTER;
	if (options->clear)
		flags |= SPDM_GET_CAPABILITIES_REQUEST_FLAGS_HANDSHAKE_IN_THE_CLEAR_CAP;
	return flags;
}

static uint32_t responder_flags(const struct options *options)
{
	uint32_t flags = SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_CERT_CAP | SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_CHAL_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_MEAS_CAP_SIG |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_ENCRYPT_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_MAC_CAP | SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_KEY_EX_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_HBEAT_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_KEY_UPD_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_CHUNK_CAP;

	if (options->mutual != MUTUAL_NONE)
		flags |= SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_MUT_AUTH_CAP |
			 SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_ENCAP_CAP;
	if (options->psk)
		flags |= options->no_context ? SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_PSK_CAP_RESPONDER :
					       SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_PSK_CAP_RESPONDER_WITH_CONTEXT;
	if (options->clear)
		flags |= SPDM_GET_CAPABILITIES_RESPONSE_FLAGS_HANDSHAKE_IN_THE_CLEAR_CAP;
	return flags;
}

/* The sample keys of the working directory, and the root that the other side's chain must begin with. */
static void identity(void *spdm, const struct options *options)
{
	const struct suite *suite = options->suite;
	void *chain, *root;
	size_t size;
	bool read;

	if (options->responder)
		read = libspdm_read_responder_public_certificate_chain(suite->hash, suite->sign, &chain, &size, NULL, NULL);
	else
		read = libspdm_read_requester_public_certificate_chain(suite->hash, suite->requester_sign, &chain, &size,
								       NULL, NULL);
	if (!read)
		fail("the sample keys are of no use");
	if (options->responder || options->authenticates) {
		SET(spdm, LOCAL_SUPPORTED_SLOT_MASK, uint8_t, 1);
		set(spdm, LIBSPDM_DATA_LOCAL_PUBLIC_CERT_CHAIN, 0, chain, size);
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

	SET(spdm, BASIC_MUT_AUTH_REQUESTED, bool, options->mutual == MUTUAL_BASIC);
	SET(spdm, MUT_AUTH_REQUESTED, uint8_t, asked[options->mutual]);
	libspdm_register_cert_chain_buffer(spdm, chain, sizeof(chain));
}

void *context(const struct options *options)
{
	void *spdm = calloc(1, libspdm_get_context_size());
	void *scratch;
	size_t size;

	if (!spdm || libspdm_init_context(spdm))
		fail("libspdm does not begin");
	link_register(spdm, options);
	size = libspdm_get_sizeof_required_scratch_buffer(spdm);
	scratch = calloc(1, size);
	libspdm_set_scratch_buffer(spdm, scratch, size);
	SET(spdm, CAPABILITY_CT_EXPONENT, uint8_t, 0);
	SET(spdm, CAPABILITY_RTT_US, uint64_t, 0);
	SET(spdm, CAPABILITY_FLAGS, uint32_t, options->responder ? responder_flags(options) : requester_flags(options));
	algorithms(spdm, options);
	identity(spdm, options);
	if (options->responder) {
		SET(spdm, HEARTBEAT_PERIOD, uint8_t, 60);
		mutual(spdm, options);
	}
	if (!libspdm_check_context(spdm))
		fail("libspdm does not take what it is told");
	return spdm;
}
