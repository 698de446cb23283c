// SPDX-License-Identifier: Apache-2.0
/* The socket, in the framing of the DMTF emulators: command, transport and size, big-endian, then `size` bytes. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "library/spdm_transport_mctp_lib.h"
#include "library/spdm_transport_pcidoe_lib.h"

#include "peer.h"

enum command {
	COMMAND_NORMAL = 1,
	COMMAND_SHUTDOWN = 0xfffe,
	COMMAND_TEST = 0xdead,
};

enum transport {
	TRANSPORT_MCTP = 1,
	TRANSPORT_DOE = 2,
};

#define FRAME_MAX 0x20000
#define PATIENCE_S 20
#define MESSAGE_MAX 0x4000

static int stream = -1;
static uint32_t transport;

/* The last frame that was read. */
static struct {
	uint32_t command;
	size_t size;
	uint8_t payload[FRAME_MAX];
} frame;

static void send_frame(uint32_t command, const void *payload, size_t size)
{
	static uint8_t bytes[12 + FRAME_MAX];
	uint32_t head[3] = { htonl(command), htonl(transport), htonl((uint32_t)size) };

	if (size > FRAME_MAX)
		fail("a frame of %zu bytes is too large to send", size);
	memcpy(bytes, head, sizeof(head));
	memcpy(bytes + sizeof(head), payload, size);
	if (send(stream, bytes, sizeof(head) + size, MSG_NOSIGNAL) != (ssize_t)(sizeof(head) + size))
		fail("the other side has hung up");
}

/* Fills `bytes`; false if the stream ends before the first of them. */
static bool fill(uint8_t *bytes, size_t size)
{
	size_t filled = 0;

	while (filled < size) {
		ssize_t came = read(stream, bytes + filled, size - filled);

		if (!came && !filled)
			return false;
		if (came <= 0)
			fail("%s", came ? "no answer" : "a frame is cut short");
		filled += (size_t)came;
	}
	return true;
}

/* Reads the next frame; false at the end of the stream. */
static bool receive_frame(void)
{
	uint32_t head[3];

	if (!fill((uint8_t *)head, sizeof(head)))
		return false;
	frame.command = ntohl(head[0]);
	frame.size = ntohl(head[2]);
	if (ntohl(head[1]) != transport || frame.size > FRAME_MAX)
		fail("a frame of transport %u with %zu bytes", ntohl(head[1]), frame.size);
	if (frame.size && !fill(frame.payload, frame.size))
		fail("a frame is cut short");
	return true;
}

static void answer_to(uint32_t command, const void *payload, size_t size)
{
	send_frame(command, payload, size);
	if (!receive_frame() || frame.command != command)
		fail("no answer to command %#x", command);
}

static struct sockaddr_in here(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static void open_stream(int connected, const struct options *options)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int on = 1;

	stream = connected;
	transport = options->mctp ? TRANSPORT_MCTP : TRANSPORT_DOE;
	setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(stream, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

struct discovery {
	pci_doe_data_object_header_t header;
	union {
		pci_doe_discovery_request_t request;
		pci_doe_discovery_response_t response;
	};
} __attribute__((packed));

/* Asks for every type of data object there is; SPDM and secured SPDM must be among them. */
static void discover(void)
{
	static const pci_doe_data_object_header_t header = { .vendor_id = PCI_DOE_VENDOR_ID_PCISIG, .length = 3 };
	unsigned types = 0;
	uint8_t index = 0, type;
	uint16_t vendor;

	do {
		struct discovery ask = { .header = header, .request.index = index };

		answer_to(COMMAND_NORMAL, &ask, sizeof(ask));
		if (libspdm_pci_doe_decode_discovery_response(frame.size, frame.payload, &vendor, &type, &index))
			fail("discovery: the answer cannot be read");
		if (vendor == PCI_DOE_VENDOR_ID_PCISIG && type < 8)
			types |= 1u << type;
	} while (index);
	if ((types & 7) != 7)
		fail("discovery: types of bits %#x, wanted 0, 1 and 2", types);
}

static void answer_discovery(uint8_t index)
{
	static const uint8_t next[] = { 1, 2, 0 };
	struct discovery answer = {
		.header = { .vendor_id = PCI_DOE_VENDOR_ID_PCISIG, .length = 3 },
		.response = { .vendor_id = PCI_DOE_VENDOR_ID_PCISIG },
	};

	if (index >= sizeof(next))
		return;
	answer.response.data_object_type = index;
	answer.response.next_index = next[index];
	send_frame(COMMAND_NORMAL, &answer, sizeof(answer));
}

void link_connect(const struct options *options)
{
	static const char hello[] = "Client Hello!";
	struct sockaddr_in to = here(options->port);
	int out = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(out, (struct sockaddr *)&to, sizeof(to)))
		fail("nobody listens at port %u", options->port);
	open_stream(out, options);
	answer_to(COMMAND_TEST, hello, sizeof(hello));
	if (!options->mctp)
		discover();
}

void link_accept(const struct options *options)
{
	struct sockaddr_in at = here(options->port);
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &size))
		fail("port %u cannot be listened at", options->port);
	printf("listening on 127.0.0.1:%u\n", ntohs(at.sin_port));
	fflush(stdout);
	open_stream(accept(listener, 0, 0), options);
	close(listener);
}

bool link_serve(void)
{
	static const char hello[] = "Server Hello!";
	uint8_t index;
	bool spdm;

	while (receive_frame()) {
		switch (frame.command) {
		case COMMAND_NORMAL:
			spdm = transport == TRANSPORT_MCTP ||
			       libspdm_pci_doe_decode_discovery_request(frame.size, frame.payload, &index);
			if (spdm)
				return true;
			answer_discovery(index);
			break;
		case COMMAND_TEST:
			send_frame(COMMAND_TEST, hello, sizeof(hello));
			break;
		default:
			send_frame(frame.command, "", 0);
			if (frame.command == COMMAND_SHUTDOWN)
				return false;
		}
	}
	return false;
}

void link_shutdown(void)
{
	answer_to(COMMAND_SHUTDOWN, "", 0);
}

/* What libspdm calls. A responder's message has come already: link_serve() was there. */

static bool serves;

static libspdm_return_t put(void *spdm, size_t size, const void *message, uint64_t timeout)
{
	(void)spdm;
	(void)timeout;
	send_frame(COMMAND_NORMAL, message, size);
	return LIBSPDM_STATUS_SUCCESS;
}

static libspdm_return_t get(void *spdm, size_t *size, void **message, uint64_t timeout)
{
	(void)spdm;
	(void)timeout;
	if (!serves && (!receive_frame() || frame.command != COMMAND_NORMAL))
		return LIBSPDM_STATUS_RECEIVE_FAIL;
	if (frame.size > *size)
		return LIBSPDM_STATUS_RECEIVE_FAIL;
	memcpy(*message, frame.payload, frame.size);
	*size = frame.size;
	return LIBSPDM_STATUS_SUCCESS;
}

static uint8_t out_buffer[FRAME_MAX], in_buffer[FRAME_MAX];

static libspdm_return_t out(void *spdm, void **buffer)
{
	(void)spdm;
	*buffer = out_buffer;
	return LIBSPDM_STATUS_SUCCESS;
}

static libspdm_return_t in(void *spdm, void **buffer)
{
	(void)spdm;
	*buffer = in_buffer;
	return LIBSPDM_STATUS_SUCCESS;
}

static void release(void *spdm, const void *buffer)
{
	(void)spdm;
	(void)buffer;
}

void link_register(void *spdm, const struct options *options)
{
	uint32_t size;

	serves = options->responder;
	libspdm_register_device_io_func(spdm, put, get);
	if (options->mctp) {
		libspdm_register_transport_layer_func(spdm, MESSAGE_MAX, LIBSPDM_MCTP_TRANSPORT_HEADER_SIZE,
						      LIBSPDM_MCTP_TRANSPORT_TAIL_SIZE,
						      libspdm_transport_mctp_encode_message,
						      libspdm_transport_mctp_decode_message);
		size = LIBSPDM_MCTP_TRANSPORT_HEADER_SIZE + LIBSPDM_MCTP_TRANSPORT_TAIL_SIZE;
	} else {
		libspdm_register_transport_layer_func(spdm, MESSAGE_MAX, LIBSPDM_PCI_DOE_TRANSPORT_HEADER_SIZE,
						      LIBSPDM_PCI_DOE_TRANSPORT_TAIL_SIZE,
						      libspdm_transport_pci_doe_encode_message,
						      libspdm_transport_pci_doe_decode_message);
		size = LIBSPDM_PCI_DOE_TRANSPORT_HEADER_SIZE + LIBSPDM_PCI_DOE_TRANSPORT_TAIL_SIZE;
	}
	size += options->transfer_size;
	libspdm_register_device_buffer_func(spdm, size, size, out, release, in, release);
}
