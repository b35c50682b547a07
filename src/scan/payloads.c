/* SPDX-License-Identifier: MIT */
/* Requests that change nothing, and that need no account.
 *
 * A newline does for echo, daytime, quotd, chargen and time, which answer to
 * whatever comes (RFC 862, 867, 865, 864, 868).  So it does for those who never
 * answer (syslog, discard), not to one host (LLMNR, RFC 4795 section 2.4) or to
 * another port than asked (DHCP, RFC 2131 section 4.1).
 */
#include "scan/payloads.h"

/* clang-format off */

#define TEXT(s) (s), sizeof(s) - 1

/* RFC 1035 section 4.1: the name servers of the root. */
#define DNS                                                                    \
	"\x13\x37" "\x01\x00" /* id; recursion desired */                      \
	"\0\1" "\0\0" "\0\0" "\0\0" /* a question */                           \
	"\0" "\0\2" "\0\1" /* ., NS, IN */

/* RFC 6763 section 9: which services there are; asked of one host alone, and
 * from another port than 5353 (RFC 6762 sections 5.5 and 6.7).
 */
#define MDNS                                                                   \
	"\x13\x37" "\0\0" "\0\1" "\0\0" "\0\0" "\0\0"                          \
	"\x09_services" "\x07_dns-sd" "\x04_udp" "\x05local" "\0"              \
	"\0\x0c" "\0\1" /* PTR, IN */

/* RFC 1350 section 5: to read a file.  None is called so. */
#define TFTP "\0\1" "cleat-probe\0" "octet\0"

/* RFC 4120 section 5.4.1: AS-REQ, of a realm that is nobody's, and so without
 * a name to try.  In DER, as 5.2 to 5.4.1 have it.
 */
#define KERBEROS                                                               \
	"\x6a\x78\x30\x76" "\xa1\x03\x02\x01\x05" /* pvno 5 */                 \
	"\xa2\x03\x02\x01\x0a" "\xa4\x6a\x30\x68" /* AS-REQ; its body */       \
	"\xa0\x07\x03\x05\0\0\0\0\0" /* no options */                          \
	"\xa1\x12\x30\x10\xa0\x03\x02\x01\x01" "\xa1\x09\x30\x07\x1b\x05"      \
	"probe" /* the client */                                               \
	"\xa2\x09\x1b\x07" "EXAMPLE" /* the realm */                           \
	"\xa3\x1c\x30\x1a\xa0\x03\x02\x01\x02" "\xa1\x13\x30\x11\x1b\x06"      \
	"krbtgt" "\x1b\x07" "EXAMPLE" /* the server */                         \
	"\xa5\x11\x18\x0f" "19700101000000Z" /* until, as long as may be */    \
	"\xa7\x03\x02\x01\x01" /* nonce */                                     \
	"\xa8\x08\x30\x06\x02\x01\x12\x02\x01\x11" /* AES-256, AES-128 */

/* RFC 5531 section 9: a call of procedure 0, which does nothing, without
 * credentials.  PROGRAM and VERSION: four bytes each.
 */
#define RPC_NULL(program, version)                                             \
	"\x13\x37\x13\x37" "\0\0\0\0" "\0\0\0\2" /* xid, CALL, RPC 2 */        \
	program version "\0\0\0\0"                                             \
	"\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" /* AUTH_NONE, twice */

/* RFC 5905 section 7.3: version 4, of a client. */
#define NTP                                                                    \
	"\x23" "\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0"                       \
	"\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0"                                  \
	"\0\0\0\0\0\0\0\0" "\x13\x37\x13\x37\x13\x37\x13\x37" /* sent at */

/* RFC 1002 section 4.2.17: NODE STATUS REQUEST, of the name "*" and 15 NULs,
 * two letters for a byte (RFC 1001 section 14.1).
 */
#define NETBIOS_NS                                                             \
	"\x13\x37" "\0\0" "\0\1" "\0\0" "\0\0" "\0\0"                          \
	"\x20" "CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" "\0"                         \
	"\0\x21" "\0\1" /* NBSTAT, IN */

/* RFC 1157 section 4.1.2 and RFC 3416 section 4.2.1: get sysDescr.0, of the
 * community "public".  VERSION: 0 is SNMPv1, 1 is SNMPv2c (RFC 1901).
 */
#define SNMP(version)                                                          \
	"\x30\x26" "\x02\x01" version "\x04\x06" "public"                      \
	"\xa0\x19" "\x02\x01\x01" "\x02\x01\0" "\x02\x01\0"                    \
	"\x30\x0e" "\x30\x0c" "\x06\x08\x2b\x06\1\2\1\1\1\0" "\x05\0"

/* RFC 3414 section 4: who it is, asked of any SNMPv3 engine. */
#define SNMP_V3                                                                \
	"\x30\x38" "\x02\x01\x03" /* version 3 */                              \
	"\x30\x0e" "\x02\x01\x01" "\x02\x03\0\xff\xe3" /* id, maximum size */  \
	"\x04\x01\x04" "\x02\x01\x03" /* reportable; user-based security */    \
	"\x04\x10" "\x30\x0e" "\x04\0" "\x02\x01\0" "\x02\x01\0"               \
	"\x04\0" "\x04\0" "\x04\0" /* of no engine, by no user */              \
	"\x30\x11" "\x04\0" "\x04\0"                                           \
	"\xa0\x0b" "\x02\x01\x01" "\x02\x01\0" "\x02\x01\0" "\x30\0" /* get */

/* RFC 4511 section 4.5.1, by UDP as in RFC 1798: the versions of LDAP, from the
 * root entry.
 */
#define CLDAP                                                                  \
	"\x30\x3b" "\x02\x01\x01" "\x63\x36" /* id; search */                  \
	"\x04\0" "\x0a\x01\0" "\x0a\x01\0" /* the root, itself alone */        \
	"\x02\x01\x01" "\x02\x01\0" "\x01\x01\0" /* limits */                  \
	"\x87\x0b" "objectClass" "\x30\x16" "\x04\x14" "supportedLDAPVersion"

/* RFC 9000 section 6.1: a version that is reserved for being unknown (section
 * 15) is answered with those that are known, if the datagram has 1200 bytes.
 */
static const unsigned char quic[1200] =
	"\xc0" "\x1a\x2a\x3a\x4a" /* long header, version */
	"\x08" "\x13\x37\x13\x37\x13\x37\x13\x37" /* destination's id */
	"\x08" "\x73\x31\x73\x31\x73\x31\x73\x31"; /* source's id */

/* RFC 7296 sections 1.2 and 3: IKE_SA_INIT with AES-256-CBC, HMAC-SHA2-256 and
 * group 14, whose public value 2 belongs to the secret 1.  Behind the four
 * bytes that tell it from ESP on port 4500 (RFC 3948 section 2.2).
 */
static const struct {
	unsigned char marker[4], header[28], sa[48], ke[8], two[256];
	unsigned char nonce[36];
} ike = {
	.header = "\x13\x37\x13\x37\x13\x37\x13\x37" "\0\0\0\0\0\0\0\0"
		  "\x21\x20\x22\x08" /* SA first; 2.0; exchange; initiator */
		  "\0\0\0\0" "\0\0\x01\x78", /* the first message; 376 bytes */
	.sa = "\x22\0\0\x30" "\0\0\0\x2c\x01\x01\0\x04" /* one proposal */
	      "\x03\0\0\x0c\x01\0\0\x0c\x80\x0e\x01\0" /* AES-CBC, 256 bits */
	      "\x03\0\0\x08\x02\0\0\x05" /* PRF_HMAC_SHA2_256 */
	      "\x03\0\0\x08\x03\0\0\x0c" /* AUTH_HMAC_SHA2_256_128 */
	      "\0\0\0\x08\x04\0\0\x0e", /* 2048-bit MODP */
	.ke = "\x28\0\x01\x08" "\0\x0e\0\0",
	.two = { [255] = 2 },
	.nonce = "\0\0\0\x24" "cleat probes, and wants no key!\n",
};

/* RFC 2408 section 3, RFC 2409 section 5.1: main mode, as RFC 2407 has it. */
#define IKE_V1                                                                 \
	"\x13\x37\x13\x37\x13\x37\x13\x37" "\0\0\0\0\0\0\0\0"                  \
	"\x01\x10\x02\0" "\0\0\0\0" "\0\0\0\x58" /* SA first; 1.0; main */     \
	"\0\0\0\x3c" "\0\0\0\1" "\0\0\0\1" /* SA: IPsec, identity only */      \
	"\0\0\0\x30" "\x01\x01\0\x01" /* a proposal: ISAKMP */                 \
	"\0\0\0\x28" "\x01\x01\0\0" /* a transform: KEY_IKE */                 \
	"\x80\x01\0\x07" "\x80\x0e\x01\0" /* AES-CBC, 256 bits */              \
	"\x80\x02\0\x02" "\x80\x03\0\x01" /* SHA, pre-shared key */            \
	"\x80\x04\0\x0e" "\x80\x0b\0\x01" /* group 14; seconds of life */      \
	"\0\x0c\0\x04\0\0\x70\x80"

/* RFC 2453 section 3.9.1: the whole table. */
#define RIP                                                                    \
	"\x01\x02\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\x10"

/* Alert Standard Format 2.0 section 3.2.4.2: presence ping, to a machine's
 * management controller.
 */
#define RMCP "\x06\0\xff\x06" "\0\0\x11\xbe" "\x80\x01\0\0"

/* OpenVPN has no RFC; its client begins so: P_CONTROL_HARD_RESET_CLIENT_V2 and
 * key 0, its session, no acknowledgement, packet 0.
 */
#define OPENVPN "\x38" "\x13\x37\x13\x37\x13\x37\x13\x37" "\0" "\0\0\0\0"

/* [MC-SQLR] section 2.2.1: which SQL Servers there are. */
#define SQL_BROWSER "\x02"

/* RFC 2661 section 6.1: SCCRQ. */
#define L2TP                                                                   \
	"\xc8\x02" "\0\x39" "\0\0" "\0\0" "\0\0" "\0\0" /* 57 bytes */         \
	"\x80\x08\0\0\0\0\0\x01" /* SCCRQ */                                   \
	"\x80\x08\0\0\0\x02\x01\0" /* protocol 1.0 */                          \
	"\x80\x0a\0\0\0\x03\0\0\0\x03" /* framing capabilities */              \
	"\x80\x0b\0\0\0\x07" "cleat" /* host name */                           \
	"\x80\x08\0\0\0\x09\0\x01" /* tunnel 1 */

/* RFC 2865 section 4.1: Access-Request.  A server answers its clients alone;
 * one of them knows the secret that this is not made with, so at best it says
 * no.
 */
#define RADIUS                                                                 \
	"\x01\x01" "\0\x34" "cleat probes you"                                 \
	"\x01\x07" "probe" "\x02\x12" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"       \
	"\x20\x07" "cleat" /* name, password, NAS-Identifier */

/* UPnP Device Architecture 2.0 section 1.3.2: a search, to one host. */
#define SSDP                                                                   \
	"M-SEARCH * HTTP/1.1\r\n"                                              \
	"HOST: 239.255.255.250:1900\r\n"                                       \
	"MAN: \"ssdp:discover\"\r\n"                                           \
	"MX: 1\r\n"                                                            \
	"ST: ssdp:all\r\n"                                                     \
	"\r\n"

/* RFC 8489 section 5: Binding Request. */
#define STUN "\0\x01" "\0\0" "\x21\x12\xa4\x42" "cleat probes"

/* RFC 3261 section 11; answered to where it came from (RFC 3581). */
#define SIP                                                                    \
	"OPTIONS sip:probe@example.com SIP/2.0\r\n"                            \
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKcleat;rport\r\n"        \
	"Max-Forwards: 70\r\n"                                                 \
	"To: <sip:probe@example.com>\r\n"                                      \
	"From: <sip:probe@example.com>;tag=cleat\r\n"                          \
	"Call-ID: cleat@192.0.2.1\r\n"                                         \
	"CSeq: 1 OPTIONS\r\n"                                                  \
	"Accept: application/sdp\r\n"                                          \
	"Content-Length: 0\r\n"                                                \
	"\r\n"

/* RFC 6886 section 3.2: the external address. */
#define NAT_PMP "\0\0"

/* RFC 7252 section 4.3: an Empty message that is to be confirmed provokes a
 * Reset, which is called a CoAP ping.
 */
#define COAP "\x40\0" "\x13\x37"

/* memcached's protocol.txt, "UDP protocol": request, sequence, datagrams, 0. */
#define MEMCACHED "\x13\x37" "\0\0" "\0\1" "\0\0" "version\r\n"

static const struct cleat__payload payloads[] = {
	{ 53, TEXT(DNS) },
	{ 69, TEXT(TFTP) },
	{ 88, TEXT(KERBEROS) },
	{ 111, TEXT(RPC_NULL("\0\x01\x86\xa0", "\0\0\0\2")) }, /* RFC 1833 */
	{ 123, TEXT(NTP) },
	{ 137, TEXT(NETBIOS_NS) },
	{ 161, TEXT(SNMP("\1")) },
	{ 161, TEXT(SNMP_V3) },
	{ 161, TEXT(SNMP("\0")) },
	{ 389, TEXT(CLDAP) },
	{ 443, quic, sizeof(quic) },
	{ 500, (const char *)&ike + sizeof(ike.marker),
	  sizeof(ike) - sizeof(ike.marker) },
	{ 500, TEXT(IKE_V1) },
	{ 520, TEXT(RIP) },
	{ 623, TEXT(RMCP) },
	{ 1194, TEXT(OPENVPN) },
	{ 1434, TEXT(SQL_BROWSER) },
	{ 1645, TEXT(RADIUS) },
	{ 1701, TEXT(L2TP) },
	{ 1812, TEXT(RADIUS) },
	{ 1900, TEXT(SSDP) },
	{ 2049, TEXT(RPC_NULL("\0\x01\x86\xa3", "\0\0\0\3")) }, /* RFC 1813 */
	{ 3478, TEXT(STUN) },
	{ 4500, &ike, sizeof(ike) },
	{ 5060, TEXT(SIP) },
	{ 5351, TEXT(NAT_PMP) },
	{ 5353, TEXT(MDNS) },
	{ 5683, TEXT(COAP) },
	{ 11211, TEXT(MEMCACHED) },
};

/* Not empty: some servers take an empty datagram for an end. */
static const struct cleat__payload other = { 0, TEXT("\n") };

/* clang-format on */

#define COUNT (sizeof(payloads) / sizeof(payloads[0]))

/* Rows of one port stand together. */
const struct cleat__payload *cleat__payload(unsigned port, unsigned attempt)
{
	size_t first = 0, n = 0;

	while (first < COUNT && payloads[first].port < port)
		first++;
	while (first + n < COUNT && payloads[first + n].port == port)
		n++;
	return n > 0 ? &payloads[first + attempt % n] : &other;
}
