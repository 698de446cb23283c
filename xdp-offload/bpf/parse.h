/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From bytes to the few facts that rules look at. Every parser takes (cursor, out), moves the cursor past its
 * header and returns the next type, or a negative reason (enum reason) if there is none.
 *
 *   Ethernet ─► VLAN ×0..2 ─► IPv4 ─────────────────────────┬─► TCP, UDP, SCTP: ports
 *                          └► IPv6 ─► extension header ×0..8 ┴─► ICMP, ICMPv6: type
 *
 * Headers of one length are read where they lie. What follows a header of any other length is copied out by the
 * kernel: to add a packet's own number to a pointer takes CAP_PERFMON, which a packet filter should not need.
 */
#ifndef TIDELOCK_PARSE_H
#define TIDELOCK_PARSE_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "shared.h"

#define VLAN_TAGS_MAX 2
#define EXTENSION_HEADERS_MAX 8

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_SCTP 132
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

struct cursor {
	struct xdp_md *context;
	void *at; /* not once `far` */
	void *end;
	__u32 offset; /* of the next header, from the frame's start */
	__u32 length; /* of the frame */
	bool far;     /* some header before had a length of its own */
};

/* What rules look at. */
struct packet {
	__u8 family; /* 4 or 6 */
	__u8 protocol;
	__u8 layer4; /* bits of enum layer4 */
	bool later_fragment; /* its fourth layer is in another packet */
	__u16 source;        /* host byte order */
	__u16 destination;   /* host byte order; the ICMP type */
	__u32 source_address[4];
	__u32 destination_address[4];
};

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
};

struct vlan {
	__be16 control;
	__be16 type;
};

struct ipv4 {
	__u8 version_length;
	__u8 service;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u8 version_class;
	__u8 class_label[3];
	__be16 payload_length;
	__u8 next;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
};

/* Common to all that are followed; the fragment header has no length but a fixed one. */
struct extension {
	__u8 next;
	__u8 length;
	__be16 fragment;
	__u32 rest;
};

struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline void advance(struct cursor *cursor, void *next, __u32 length)
{
	cursor->at = next;
	cursor->offset += length;
}

static __always_inline int parse_ethernet(struct cursor *cursor)
{
	struct ethernet *header = cursor->at;

	if ((void *)(header + 1) > cursor->end)
		return -REASON_TRUNCATED;
	advance(cursor, header + 1, sizeof(*header));
	return bpf_ntohs(header->type);
}

static __always_inline bool is_vlan(int type)
{
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ;
}

static __always_inline int parse_vlan_tags(struct cursor *cursor, int type)
{
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan *tag = cursor->at;

		if (!is_vlan(type))
			return type;
		if ((void *)(tag + 1) > cursor->end)
			return -REASON_TRUNCATED;
		advance(cursor, tag + 1, sizeof(*tag));
		type = bpf_ntohs(tag->type);
	}
	return is_vlan(type) ? -REASON_TOO_DEEP : type;
}

/* Options are passed over: no rule asks for them, and none is a reason to drop a packet in silence. */
static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *out)
{
	struct ipv4 *header = cursor->at;
	__u32 length;

	if ((void *)(header + 1) > cursor->end)
		return -REASON_TRUNCATED;
	length = (header->version_length & 0xf) * 4;
	if (header->version_length >> 4 != 4 || length < sizeof(*header))
		return -REASON_MALFORMED;
	out->family = 4;
	out->source_address[0] = header->source;
	out->destination_address[0] = header->destination;
	out->later_fragment = (bpf_ntohs(header->fragment) & 0x1fff) != 0;
	advance(cursor, header + 1, length);
	cursor->far = length != sizeof(*header);
	if (cursor->far && cursor->offset > cursor->length)
		return -REASON_TRUNCATED;
	return header->protocol;
}

static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *out)
{
	struct ipv6 *header = cursor->at;

	if ((void *)(header + 1) > cursor->end)
		return -REASON_TRUNCATED;
	if (header->version_class >> 4 != 6)
		return -REASON_MALFORMED;
	out->family = 6;
	__builtin_memcpy(out->source_address, header->source, sizeof(header->source));
	__builtin_memcpy(out->destination_address, header->destination, sizeof(header->destination));
	advance(cursor, header + 1, sizeof(*header));
	return header->next;
}

static __always_inline bool is_extension(int protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AUTHENTICATION ||
	       protocol == PROTOCOL_DESTINATION || protocol == PROTOCOL_MOBILITY ||
	       protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

static __always_inline __u32 extension_length(int protocol, const struct extension *header)
{
	switch (protocol) {
	case PROTOCOL_FRAGMENT:
		return sizeof(*header);
	case PROTOCOL_AUTHENTICATION:
		return (header->length + 2) * 4;
	default:
		return (header->length + 1) * 8;
	}
}

/* What follows a later fragment's header is payload, so the walk ends there. */
static __always_inline int parse_extensions(struct cursor *cursor, struct packet *out, int protocol)
{
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension header = {};

		if (out->later_fragment || !is_extension(protocol))
			return protocol;
		cursor->far = true;
		if (bpf_xdp_load_bytes(cursor->context, cursor->offset, &header, sizeof(header)))
			return -REASON_TRUNCATED;
		cursor->offset += extension_length(protocol, &header);
		if (cursor->offset > cursor->length)
			return -REASON_TRUNCATED;
		if (protocol == PROTOCOL_FRAGMENT)
			out->later_fragment = (bpf_ntohs(header.fragment) & 0xfff8) != 0;
		protocol = header.next;
	}
	return !out->later_fragment && is_extension(protocol) ? -REASON_TOO_DEEP : protocol;
}

/* A first fragment that holds less than the ports is not how honest senders cut (RFC 1858, RFC 7112). */
static __always_inline int parse_ports(struct cursor *cursor, struct packet *out)
{
	struct ports *ports = cursor->at;
	struct ports copy = {};

	if (cursor->far) {
		if (bpf_xdp_load_bytes(cursor->context, cursor->offset, &copy, sizeof(copy)))
			return -REASON_TRUNCATED;
	} else {
		if ((void *)(ports + 1) > cursor->end)
			return -REASON_TRUNCATED;
		copy = *ports;
	}
	out->source = bpf_ntohs(copy.source);
	out->destination = bpf_ntohs(copy.destination);
	return 0;
}

static __always_inline int parse_icmp_type(struct cursor *cursor, struct packet *out)
{
	__u8 type = 0;

	if (bpf_xdp_load_bytes(cursor->context, cursor->offset, &type, sizeof(type)))
		return -REASON_TRUNCATED;
	out->destination = type;
	return 0;
}

static __always_inline int parse_layer4(struct cursor *cursor, struct packet *out)
{
	__u8 protocol = out->protocol;

	if (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP) {
		out->layer4 = LAYER4_PORTS;
		return out->later_fragment ? 0 : parse_ports(cursor, out);
	}
	if (protocol == (out->family == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
		out->layer4 = LAYER4_ICMP_TYPE;
		return out->later_fragment ? 0 : parse_icmp_type(cursor, out);
	}
	return 0;
}

/* 0 if `out` is filled, else a negative reason. */
static __always_inline int parse_packet(struct cursor *cursor, struct packet *out)
{
	int type = parse_ethernet(cursor);
	int protocol;

	if (type >= 0)
		type = parse_vlan_tags(cursor, type);
	if (type < 0)
		return type;
	if (type == ETHERTYPE_IPV4) {
		protocol = parse_ipv4(cursor, out);
	} else if (type == ETHERTYPE_IPV6) {
		protocol = parse_ipv6(cursor, out);
		if (protocol >= 0)
			protocol = parse_extensions(cursor, out, protocol);
	} else {
		return -REASON_NON_IP;
	}
	if (protocol < 0)
		return protocol;
	out->protocol = protocol;
	return parse_layer4(cursor, out);
}

#endif
