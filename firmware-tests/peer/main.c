// SPDX-License-Identifier: Apache-2.0
/* libspdm as a requester or a responder behind a socket: an independent judge of another implementation. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

static const char usage[] =
	"usage: libspdm-peer requester --port N {--root | --peer-key} FILE.der [OPTION...]\n"
	"       libspdm-peer responder [--port N] [--root FILE.der] [OPTION...]\n"
	"\n"
	"libspdm behind TCP port N of 127.0.0.1, in the framing of the DMTF emulators, with the sample keys of the\n"
	"working directory. The requester prints each thing done, and goes through a whole conversation: identity,\n"
	"signed measurements, and a session with HEARTBEAT and KEY_UPDATE. The responder serves one connection.\n"
	"\n"
	"  --transport NAME      doe (the default) or mctp\n"
	"  --spdm VERSION        1.0, 1.1, 1.2 (the default) or 1.3\n"
	"  --secured VERSION     of secured messages (DSP0277), 1.0, 1.1 or 1.2 alone\n"
	"  --suite NAME          p384 (the default), p256, p384-chacha, p256-chacha, rsassa2048, rsapss3072, rsapss4096\n"
	"  --root FILE.der       the root that the other side's chain must begin with\n"
	"  --peer-key FILE.der   requester: the public key that the responder has instead of a chain\n"
	"  --mutual WAY          responder: basic, encap, digests or raw\n"
	"  --authenticates       requester: authenticate itself if asked to\n"
	"  --answers             requester: ask in the session what the responder wants, and answer\n"
	"  --tdisp               requester: ask TDISP's version in the session\n"
	"  --more                requester: ask for a CSR, SET_CERTIFICATE, key pairs, log, events in the session\n"
	"  --beside              requester: a second session beside the first, by KEY_EXCHANGE\n"
	"  --twice               requester: all of it again from GET_VERSION on, with a session still up\n"
	"  --psk                 sessions are on the samples' pre-shared key\n"
	"  --no-context          responder: add no context to that\n"
	"  --clear               handshakes in clear\n"
	"  --transfer-size N     DataTransferSize (default: 4608)\n"
	"  --slot N              the slot whose chain is used (default: 0)\n"
	"  --multi-key           several keys, always (1.3)\n"
	"  --alias               responder: the leaf is an alias certificate\n"
	"  --public-key          responder: no chain; its key was provisioned\n"
	"  --slow                responder: to each request it is busy first, and then not ready\n"
	"  --asks-keys           responder: asks for new keys in each session\n";

void fail(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "libspdm-peer: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(1);
}

void file(const char *path, void **bytes, size_t *size)
{
	FILE *from = fopen(path, "rb");
	long end;

	if (!from || fseek(from, 0, SEEK_END) || (end = ftell(from)) < 0)
		fail("%s: cannot be read", path);
	rewind(from);
	*size = (size_t)end;
	*bytes = malloc(*size + 1);
	if (!*bytes || fread(*bytes, 1, *size, from) != *size)
		fail("%s: cannot be read", path);
	fclose(from);
}

/* libspdm's sample of a device asks for these. */

bool libspdm_read_input_file(const char *path, void **bytes, size_t *size)
{
	file(path, bytes, size);
	return true;
}

bool libspdm_write_output_file(const char *path, const void *bytes, size_t size)
{
	(void)bytes;
	(void)size;
	fprintf(stderr, "libspdm-peer: %s is not kept\n", path);
	return false;
}

void libspdm_dump_hex_str(const uint8_t *bytes, size_t size)
{
	(void)bytes;
	(void)size;
}

/* Which of the words `name` is. */
static int word(const char *option, const char *name, const char *const *words)
{
	for (int at = 0; words[at]; at++)
		if (!strcmp(name, words[at]))
			return at;
	fail("--%s %s: there is no such thing; see libspdm-peer --help", option, name);
}

static const struct suite *suite(const char *name)
{
	for (const struct suite *at = suites; at->name; at++)
		if (!strcmp(name, at->name))
			return at;
	fail("--suite %s: there is no such thing; see libspdm-peer --help", name);
}

static long number(const char *option, const char *text, long most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < 0 || value > most)
		fail("--%s %s: wanted a number up to %ld", option, text, most);
	return value;
}

struct options options(int count, char **words)
{
	enum {
		PORT, TRANSPORT, SPDM, SECURED, SUITE, ROOT, PEER_KEY, MUTUAL, AUTHENTICATES, ANSWERS, TDISP, MORE,
		BESIDE, TWICE, PSK, NO_CONTEXT, CLEAR, TRANSFER_SIZE, SLOT, MULTI_KEY, ALIAS, PUBLIC_KEY, SLOW,
		ASKS_KEYS, HELP
	};
	static const struct option known[] = {
		[PORT] = { "port", required_argument, 0, 0 },
		[TRANSPORT] = { "transport", required_argument, 0, 0 },
		[SPDM] = { "spdm", required_argument, 0, 0 },
		[SECURED] = { "secured", required_argument, 0, 0 },
		[SUITE] = { "suite", required_argument, 0, 0 },
		[ROOT] = { "root", required_argument, 0, 0 },
		[PEER_KEY] = { "peer-key", required_argument, 0, 0 },
		[ANSWERS] = { "answers", no_argument, 0, 0 },
		[MUTUAL] = { "mutual", required_argument, 0, 0 },
		[AUTHENTICATES] = { "authenticates", no_argument, 0, 0 },
		[TDISP] = { "tdisp", no_argument, 0, 0 },
		[MORE] = { "more", no_argument, 0, 0 },
		[BESIDE] = { "beside", no_argument, 0, 0 },
		[TWICE] = { "twice", no_argument, 0, 0 },
		[PSK] = { "psk", no_argument, 0, 0 },
		[NO_CONTEXT] = { "no-context", no_argument, 0, 0 },
		[CLEAR] = { "clear", no_argument, 0, 0 },
		[TRANSFER_SIZE] = { "transfer-size", required_argument, 0, 0 },
		[SLOT] = { "slot", required_argument, 0, 0 },
		[MULTI_KEY] = { "multi-key", no_argument, 0, 0 },
		[ALIAS] = { "alias", no_argument, 0, 0 },
		[PUBLIC_KEY] = { "public-key", no_argument, 0, 0 },
		[SLOW] = { "slow", no_argument, 0, 0 },
		[ASKS_KEYS] = { "asks-keys", no_argument, 0, 0 },
		[HELP] = { "help", no_argument, 0, 0 },
		{ 0 },
	};
	static const char *const transports[] = { "doe", "mctp", 0 };
	static const char *const versions[] = { "1.0", "1.1", "1.2", "1.3", 0 };
	static const char *const ways[] = { "none", "basic", "encap", "digests", "raw", 0 };
	struct options said = { .version = 0x12, .suite = suites, .transfer_size = 0x1200 };
	int at, answer;

	while ((answer = getopt_long(count, words, "", known, &at)) != -1) {
		if (answer)
			exit(2); /* getopt has said what is wrong */
		switch (at) {
		case PORT: said.port = number("port", optarg, 0xffff); break;
		case TRANSPORT: said.mctp = word("transport", optarg, transports); break;
		case SPDM: said.version = 0x10 + word("spdm", optarg, versions); break;
		case SECURED: said.secured = 0x10 + word("secured", optarg, versions); break;
		case SUITE: said.suite = suite(optarg); break;
		case ROOT: said.root = optarg; break;
		case PEER_KEY: said.peer_key = optarg; break;
		case ANSWERS: said.answers = true; break;
		case MUTUAL: said.mutual = word("mutual", optarg, ways); break;
		case AUTHENTICATES: said.authenticates = true; break;
		case TDISP: said.tdisp = true; break;
		case MORE: said.more = true; break;
		case BESIDE: said.beside = true; break;
		case TWICE: said.twice = true; break;
		case PSK: said.psk = true; break;
		case NO_CONTEXT: said.no_context = true; break;
		case CLEAR: said.clear = true; break;
		case TRANSFER_SIZE: said.transfer_size = number("transfer-size", optarg, 0x10000); break;
		case SLOT: said.slot = number("slot", optarg, 7); break;
		case MULTI_KEY: said.multi_key = true; break;
		case ALIAS: said.alias = true; break;
		case PUBLIC_KEY: said.public_key = true; break;
		case SLOW: said.slow = true; break;
		case ASKS_KEYS: said.asks_keys = true; break;
		default: fputs(usage, stdout); exit(0);
		}
	}
	if (optind + 1 == count) {
		said.responder = !strcmp(words[optind], "responder");
		if (said.responder || !strcmp(words[optind], "requester"))
			return said;
	}
	fputs(usage, stderr);
	exit(2);
}

int main(int count, char **words)
{
	struct options said = options(count, words);

	if (said.responder)
		responder(&said);
	else
		requester(&said);
	return 0;
}
