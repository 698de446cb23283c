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
	if (!libspdm_read_requester_public_certificate_chain(told->suite->hash, told->suite->requester_sign, &chain, &size,
							     NULL, NULL) ||
	    libspdm_set_data(spdm, LIBSPDM_DATA_PEER_USED_CERT_CHAIN_BUFFER, &where, chain, size))
		fail("the requester's chain is not taken");
}

void responder(const struct options *options)
{
	void *spdm = context(options);
	libspdm_return_t status;

	told = options;
	libspdm_register_connection_state_callback_func(spdm, provision);
	link_accept(options);
	while (link_serve()) {
		status = libspdm_responder_dispatch_message(spdm);
		/* What wants no answer is no failure. */
		if (LIBSPDM_STATUS_IS_ERROR(status) && status != LIBSPDM_STATUS_UNSUPPORTED_CAP)
			fprintf(stderr, "libspdm-peer: libspdm's status %#x\n", status);
	}
	libspdm_deinit_context(spdm);
}
