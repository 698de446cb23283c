// SPDX-License-Identifier: Apache-2.0
/* libspdm as a requester: everything that it can ask, step by step. */
#include <stdio.h>

#include "library/spdm_requester_lib.h"
#include "spdm_device_secret_lib_internal.h"

#include "peer.h"

#define CHAIN_MAX 0x1000

/* Says that a step went well, or ends the program. */
static void step(const char *what, libspdm_return_t status)
{
	if (status)
		fail("%s: libspdm's status %#x", what, status);
	printf("%s\n", what);
}

/* The slot by which a provisioned key goes. */
#define NO_SLOT 0xff

static uint8_t slot_of(const struct options *options)
{
	return options->peer_key ? NO_SLOT : options->slot;
}

static void identify(void *spdm, const struct options *options)
{
	uint8_t slots, digests[8 * LIBSPDM_MAX_HASH_SIZE], chain[CHAIN_MAX], summary[LIBSPDM_MAX_HASH_SIZE];
	size_t size = sizeof(chain);

	if (!options->peer_key) {
		step("DIGESTS", libspdm_get_digest(spdm, NULL, &slots, digests));
		step("CERTIFICATE", libspdm_get_certificate(spdm, NULL, options->slot, &size, chain));
	}
	step("CHALLENGE_AUTH", libspdm_challenge(spdm, NULL, slot_of(options),
						 SPDM_CHALLENGE_REQUEST_ALL_MEASUREMENTS_HASH, summary, &slots));
}

static void measure(void *spdm, const uint32_t *session, const struct options *options)
{
	enum { COUNT = 0, ONE = 1, ALL = 0xff };
	static const struct {
		const char *what;
		uint8_t operation, attribute;
	} questions[] = {
		{ "the number of MEASUREMENTS", COUNT, 0 },
		{ "one of the MEASUREMENTS", ONE, 0 },
		{ "signed MEASUREMENTS", ALL, SPDM_GET_MEASUREMENTS_REQUEST_ATTRIBUTES_GENERATE_SIGNATURE },
	};
	uint8_t changed, blocks, record[LIBSPDM_MAX_MEASUREMENT_RECORD_SIZE];

	for (size_t at = 0; at < sizeof(questions) / sizeof(*questions); at++) {
		bool count = questions[at].operation == COUNT;
		uint32_t size = sizeof(record);
		libspdm_return_t status;

		status = libspdm_get_measurement(spdm, session, questions[at].attribute, questions[at].operation,
						 slot_of(options) & 0xf,
						 &changed, &blocks, count ? NULL : &size, count ? NULL : record);
		step(questions[at].what, status);
	}
}

/* TDISP's first question, of the function at 01:00.1: PCI-SIG's message in a vendor-defined one. */
static void ask_tdisp(void *spdm, const uint32_t *session)
{
	static const uint8_t ask[] = { 1, 0x10, 0x81, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	const uint16_t pci_sig = 1;
	uint16_t registry, size = 64;
	uint8_t vendor_size = 2, vendor[2], answer[64];

	step("VENDOR_DEFINED_RESPONSE", libspdm_vendor_send_request_receive_response(
						spdm, session, SPDM_REGISTRY_ID_PCISIG, sizeof(pci_sig), &pci_sig,
						sizeof(ask), ask, &registry, &vendor_size, vendor, &size, answer));
	if (size < 18 || answer[0] != 1 || answer[2] != 1)
		fail("TDISP's version is not answered");
}

static void ask_more_of_1_3(void *spdm, const uint32_t *session)
{
	uint8_t pairs, slots, groups, list[256], log[0x2000], key[LIBSPDM_MAX_CERT_CHAIN_BLOCK_LEN];
	uint16_t abilities, usages, usage, key_size = sizeof(key);
	uint32_t algorithms, algorithm, list_size = sizeof(list);
	size_t log_size = sizeof(log);

	step("KEY_PAIR_INFO", libspdm_get_key_pair_info(spdm, session, 1, &pairs, &abilities, &usages, &usage,
							&algorithms, &algorithm, &slots, &key_size, key));
	step("MEASUREMENT_EXTENSION_LOG", libspdm_get_measurement_extension_log(spdm, session, &log_size, log));
	step("SUPPORTED_EVENT_TYPES", libspdm_get_event_types(spdm, *session, &groups, &list_size, list));
	step("SUBSCRIBE_EVENT_TYPES_ACK", libspdm_subscribe_event_types(spdm, *session, groups, list_size, list));
}

/* What few devices answer, in a session of 1.2 or later. */
static void ask_more(void *spdm, const struct options *options, const uint32_t *session)
{
	uint8_t request[CHAIN_MAX], chain[CHAIN_MAX];
	size_t size = sizeof(request);

	step("CSR", libspdm_get_csr(spdm, session, NULL, 0, NULL, 0, request, &size));
	size = sizeof(chain);
	step("CERTIFICATE in the session", libspdm_get_certificate(spdm, session, 0, &size, chain));
	step("SET_CERTIFICATE_RSP", libspdm_set_certificate(spdm, session, 1, chain, size));
	if (options->version >= 0x13)
		ask_more_of_1_3(spdm, session);
}

static uint32_t open_session(void *spdm, const struct options *options, bool psk)
{
	const char *hint = psk ? LIBSPDM_TEST_PSK_HINT_STRING : NULL;
	uint16_t hint_size = psk ? sizeof(LIBSPDM_TEST_PSK_HINT_STRING) : 0;
	uint8_t heartbeat, summary[LIBSPDM_MAX_HASH_SIZE];
	uint32_t session;

	step(psk ? "a session on a pre-shared key" : "a session",
	     libspdm_start_session(spdm, psk, hint, hint_size, SPDM_CHALLENGE_REQUEST_ALL_MEASUREMENTS_HASH,
				   slot_of(options), 0, &session, &heartbeat, summary));
	return session;
}

static void talk_in_session(void *spdm, const struct options *options)
{
	uint32_t session = open_session(spdm, options, options->psk);
	uint32_t beside = options->beside ? open_session(spdm, options, false) : session;

	step("HEARTBEAT", libspdm_heartbeat(spdm, session));
	measure(spdm, &session, options);
	if (options->answers)
		step("what the responder asks", libspdm_send_receive_encap_request(spdm, &session));
	if (options->tdisp)
		ask_tdisp(spdm, &session);
	if (options->more)
		ask_more(spdm, options, &session);
	step("KEY_UPDATE of the requests", libspdm_key_update(spdm, session, true));
	step("KEY_UPDATE of both directions", libspdm_key_update(spdm, session, false));
	step("HEARTBEAT with new keys", libspdm_heartbeat(spdm, session));
	if (options->beside) {
		measure(spdm, &beside, options);
		step("END_SESSION of the other", libspdm_stop_session(spdm, beside, 0));
		measure(spdm, &session, options);
	}
	step("END_SESSION", libspdm_stop_session(spdm, session, 0));
}

static void talk(void *spdm, const struct options *options)
{
	step("ALGORITHMS", libspdm_init_connection(spdm, false));
	identify(spdm, options);
	measure(spdm, NULL, options);
	if (options->version > 0x10)
		talk_in_session(spdm, options);
}

void requester(const struct options *options)
{
	void *spdm = context(options);

	if (!options->root && !options->peer_key)
		fail("--root or --peer-key is missing: libspdm would trust whoever answers");
	link_connect(options);
	talk(spdm, options);
	if (options->twice) {
		open_session(spdm, options, options->psk);
		libspdm_reset_context(spdm);
		talk(spdm, options);
	}
	link_shutdown();
	libspdm_deinit_context(spdm);
}
