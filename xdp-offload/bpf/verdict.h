/* SPDX-License-Identifier: GPL-2.0 */
/* The decision: the first rule whose conditions all hold, else the default. */
#ifndef TIDELOCK_VERDICT_H
#define TIDELOCK_VERDICT_H

#include "maps.h"
#include "parse.h"
#include "shared.h"

struct verdict {
	enum action action;
	__u32 reason; /* a rule's place, or of enum reason */
};

/* Without branches, so that the verifier has one path through it and not one for each word. */
static __always_inline bool addresses_match(const struct rule *rule, const struct packet *packet)
{
	__u32 miss = (rule->family ^ packet->family) & rule->family_mask;

	miss |= (rule->protocol ^ packet->protocol) & rule->protocol_mask;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		miss |= (rule->source[i] ^ packet->source_address[i]) & rule->source_mask[i];
		miss |= (rule->destination[i] ^ packet->destination_address[i]) & rule->destination_mask[i];
	}
	return miss == 0;
}

/*
 * A later fragment carries no ports. A rule that passes by port passes it by its addresses alone, because
 * its first fragment must pass that rule or another to be of use; a rule that drops by port leaves it to the
 * rules after, because without its first fragment it is of no use.
 */
static __always_inline bool layer4_matches(const struct rule *rule, const struct packet *packet)
{
	if (!rule->layer4)
		return true;
	if (!(rule->layer4 & packet->layer4))
		return false;
	if (packet->later_fragment)
		return rule->action == ACTION_PASS;
	return packet->source >= rule->source_first && packet->source <= rule->source_last &&
	       packet->destination >= rule->destination_first && packet->destination <= rule->destination_last;
}

static __always_inline struct verdict decide(const struct packet *packet)
{
	struct verdict verdict = { .action = default_action, .reason = REASON_DEFAULT };

	for (__u32 i = 0; i < RULES_MAX; i++) {
		__u32 key = i;
		const struct rule *rule;

		if (i >= rule_count)
			break;
		rule = bpf_map_lookup_elem(&rules, &key);
		if (rule && addresses_match(rule, packet) && layer4_matches(rule, packet)) {
			verdict.action = rule->action;
			verdict.reason = i;
			break;
		}
	}
	return verdict;
}

/* A packet that cannot be read is never passed by a rule, nor by the default. */
static __always_inline struct verdict unreadable(int reason)
{
	struct verdict verdict = { .action = ACTION_DROP, .reason = -reason };

	if (reason == -REASON_NON_IP)
		verdict.action = non_ip_action;
	return verdict;
}

static __always_inline void count(struct verdict verdict, __u64 bytes)
{
	__u32 key = COUNTER(verdict.reason, verdict.action);
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return;
	counter->packets += 1;
	counter->bytes += bytes;
}

#endif
