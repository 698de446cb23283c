/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the peer: what it is told, the socket that it talks over, and libspdm set up for it. */
#ifndef TIDELOCK_PEER_H
#define TIDELOCK_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a responder has requesters authenticate themselves. */
enum mutual {
	MUTUAL_NONE,
	MUTUAL_BASIC, /* CHALLENGE_AUTH asks */
	MUTUAL_ENCAP, /* KEY_EXCHANGE_RSP asks, by encapsulated requests */
	MUTUAL_DIGESTS, /* the same, GET_DIGESTS with the response */
	MUTUAL_RAW, /* KEY_EXCHANGE_RSP asks for a signature alone */
};

/* Algorithms, as SPDM's bits. */
struct suite {
	const char *name;
	uint32_t sign; /* of the responder */
	uint16_t requester_sign;
	uint32_t hash, measurement_hash;
	uint16_t exchange, aead;
};

extern const struct suite suites[]; /* the last has no name */

/* What the command line says. */
struct options {
	bool responder;
	uint16_t port; /* of 127.0.0.1; 0: the system chooses */
	bool mctp; /* else DOE */
	uint8_t version; /* 0x10 to 0x13 */
	uint8_t secured; /* the one version of secured messages, 0x10 to 0x12; 0: all three */
	const struct suite *suite;
	const char *root; /* the other side's root certificate, in DER */
	const char *peer_key; /* the responder's public key, in DER, if it was provisioned */
	enum mutual mutual; /* of the responder */
	bool authenticates; /* the requester, if it is asked to */
	bool answers; /* the requester answers what the responder asks in a session */
	bool tdisp; /* the requester asks TDISP's version */
	bool more; /* the requester asks also what few devices answer */
	bool beside; /* the requester has a second session beside the first, by KEY_EXCHANGE */
	bool twice; /* the requester says all of it again, from GET_VERSION on, with a session still up */
	bool psk; /* sessions are on the pre-shared key of libspdm's samples */
	bool no_context; /* the responder adds nothing to that of its own */
	bool clear; /* handshakes in clear */
	uint32_t transfer_size; /* DataTransferSize */
	uint8_t slot; /* whose chain is used; a responder has one in slot 0 too */
	bool multi_key; /* several keys, always (1.3) */
	bool alias; /* the responder's leaf is an alias certificate */
	bool public_key; /* the responder's key was provisioned; it has no chain */
	bool slow; /* the responder is busy at first, and then not ready */
	bool asks_keys; /* the responder asks for new keys in each session */
};

/* Reads the command line, or says what is wrong with it and ends the program. */
struct options options(int count, char **words);

/* The socket, in the framing of the DMTF emulators. There is one connection in a program's life. */

/* Connects as a requester: hello, and discovery if it is DOE. */
void link_connect(const struct options *options);
/* Waits for a requester, and says where on standard output. */
void link_accept(const struct options *options);
/* Waits for the next SPDM message, and keeps it for libspdm; false once the requester has left. */
bool link_serve(void);
/* Says good-bye as a requester. */
void link_shutdown(void);
/* Gives a libspdm context the socket. */
void link_register(void *spdm, const struct options *options);

/* A libspdm context with what the options say. */
void *context(const struct options *options);

/* Asks a responder all there is to ask, a line for each thing done. */
void requester(const struct options *options);
/* Answers a requester until it leaves. */
void responder(const struct options *options);

/* Reads a whole file. What cannot be done ends the program, with the reason. */
void file(const char *path, void **bytes, size_t *size);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
