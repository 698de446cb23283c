// SPDX-License-Identifier: Apache-2.0
/* libspdm as a responder. */
#include <stdio.h>

#include "library/spdm_responder_lib.h"
#include "spdm_device_secret_lib_internal.h"

#include "peer.h"

static const struct options *told;

/* With MUTUAL_RAW nobody asks the requester for its chain: it was provisioned. */
static void provision(void *spdm, libspdm_connection_state_t state)
{
	libspdm_data_parameter_t where = { .location = LIBSPDM_DATA_LOCATION_CONNECTION };
	void *chain;
	size_t size;

	if (state != LIBSPDM_CONNECTION_STATE_NEGOTIATED || told->mutual != MUTUAL_RAW)
		return;
	if (!libspdm_read_requester_public_certificate_chain(told->suite->hash, told->suite->requester_sign, &chain,
							     &size, NULL, NULL) ||
	    libspdm_set_data(spdm, LIBSPDM_DATA_PEER_USED_CERT_CHAIN_BUFFER, &where, chain, size))
		fail("the requester's chain is not taken");
}

static void in_session(void *spdm, uint32_t session, libspdm_session_state_t state)
{
	(void)session;
	if (told->asks_keys && state == LIBSPDM_SESSION_STATE_ESTABLISHED)
		libspdm_init_key_update_encap_state(spdm);
}

/* Answers the message that has come, or puts it off: a request is met by BUSY, by RESPONSE_NOT_READY, by its answer. */
static libspdm_return_t answer(void *spdm, bool connected)
{
	static const libspdm_response_state_t states[] = {
		LIBSPDM_RESPONSE_STATE_BUSY,
		LIBSPDM_RESPONSE_STATE_NOT_READY,
		LIBSPDM_RESPONSE_STATE_NORMAL,
	};
	static size_t times;
	libspdm_data_parameter_t where = { .location = LIBSPDM_DATA_LOCATION_LOCAL };
	libspdm_response_state_t state;

	if (connected && told->slow) {
		state = states[times++ % 3];
		if (libspdm_set_data(spdm, LIBSPDM_DATA_RESPONSE_STATE, &where, &state, sizeof(state)))
			fail("libspdm does not let itself be slow");
	}
	return libspdm_responder_dispatch_message(spdm);
}

static bool is_connected(void *spdm)
{
	libspdm_data_parameter_t where = { .location = LIBSPDM_DATA_LOCATION_CONNECTION };
	libspdm_connection_state_t state;
	size_t size = sizeof(state);

	return !libspdm_get_data(spdm, LIBSPDM_DATA_CONNECTION_STATE, &where, &state, &size) &&
	       state >= LIBSPDM_CONNECTION_STATE_NEGOTIATED;
}

void responder(const struct options *options)
{
	void *spdm = context(options);
	libspdm_return_t status;

	told = options;
	libspdm_register_connection_state_callback_func(spdm, provision);
	libspdm_register_session_state_callback_func(spdm, in_session);
	link_accept(options);
	while (link_serve()) {
		status = answer(spdm, is_connected(spdm));
		/* What wants no answer is no failure. */
		if (LIBSPDM_STATUS_IS_ERROR(status) && status != LIBSPDM_STATUS_UNSUPPORTED_CAP)
			fprintf(stderr, "libspdm-peer: libspdm's status %#x\n", status);
	}
	libspdm_deinit_context(spdm);
}
