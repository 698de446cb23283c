/* SPDX-License-Identifier: GPL-2.0 */
/* What the program and its loader both see. Nothing else crosses. Rust takes these types from BTF. */
#ifndef TIDELOCK_SHARED_H
#define TIDELOCK_SHARED_H

#include <linux/types.h>

#define RULES_MAX 64

enum action {
	ACTION_DROP = 0, /* what memory that nobody filled in means */
	ACTION_PASS = 1,
};

/* What in a packet's fourth layer a rule can look at; bits. */
enum layer4 {
	LAYER4_PORTS = 1, /* TCP, UDP, SCTP */
	LAYER4_ICMP_TYPE = 2,
};

/* Why a packet had its verdict: values below RULES_MAX are the rule that matched. */
enum reason {
	REASON_DEFAULT = RULES_MAX, /* IP, and no rule matched */
	REASON_NON_IP,              /* ARP and all that is not IP */
	REASON_TRUNCATED,           /* a header ends after the packet does */
	REASON_MALFORMED,           /* a header contradicts itself */
	REASON_TOO_DEEP,            /* more VLAN tags or IPv6 extension headers than are followed */
	REASON_COUNT,
};

/* All conditions must hold. A mask of zeros asks nothing. */
struct rule {
	__u8 family; /* 4 or 6 */
	__u8 family_mask;
	__u8 protocol;
	__u8 protocol_mask;
	__u8 layer4; /* bits of enum layer4 that the packet must have and that the ranges are about */
	__u8 action;
	/* Host byte order, both ends within. The ICMP type is the destination. */
	__u16 source_first;
	__u16 source_last;
	__u16 destination_first;
	__u16 destination_last;
	__u16 reserved;
	/* Network byte order. IPv4 is the first word. */
	__u32 source[4];
	__u32 source_mask[4];
	__u32 destination[4];
	__u32 destination_mask[4];
};

/* Packets and bytes that had one reason and one verdict, on one CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Where a counter lies: the reason's drops, then what it passed. */
#define COUNTER(reason, action) ((reason) * 2 + (action))

_Static_assert(sizeof(struct rule) == 80, "src/skel.rs says the same");
_Static_assert(sizeof(struct counter) == 16, "src/stats.rs says the same");

#endif
