// SPDX-License-Identifier: GPL-2.0
/* Entry: read the packet, decide, count. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"
#include "shared.h"
#include "verdict.h"

SEC("xdp")
int tidelock_xdp(struct xdp_md *context)
{
	struct cursor cursor = {
		.context = context,
		.at = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
		.length = bpf_xdp_get_buff_len(context),
	};
	struct packet packet = {};
	int failed = parse_packet(&cursor, &packet);
	struct verdict verdict = failed ? unreadable(failed) : decide(&packet);

	count(verdict, cursor.length);
	return verdict.action == ACTION_PASS ? XDP_PASS : XDP_DROP;
}

char program_license[] SEC("license") = "GPL";
