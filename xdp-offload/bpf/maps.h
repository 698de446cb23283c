/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TIDELOCK_MAPS_H
#define TIDELOCK_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

/*
 * Filled in once the program is loaded and then frozen: other rules are another program, put in place at once.
 * They are no constants to the verifier on purpose: where it knows a rule it takes each way through the parser
 * apart, and 64 rules are then more than it is willing to follow. And each is looked up, not reached by
 * arithmetic, which for a number that the compiler keeps in a register would take CAP_PERFMON.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RULES_MAX);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

const volatile __u32 rule_count = 0;
const volatile enum action default_action = ACTION_DROP;
const volatile enum action non_ip_action = ACTION_DROP;

/* Never read here: they carry the enums into BTF, which is where the loader takes their values from. */
const volatile enum reason reason_count = REASON_COUNT;
const volatile enum layer4 layer4_ports = LAYER4_PORTS;
const volatile enum layer4 layer4_icmp_type = LAYER4_ICMP_TYPE;

/* Each packet changes one counter of its CPU, so that sums are exact. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER(REASON_COUNT, 0));
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

#endif
