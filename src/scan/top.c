/* SPDX-License-Identifier: MIT */
#include "scan/top.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PORTS 65536
#define NMAP_SERVICES "/usr/share/nmap/nmap-services"

/* Default ports of well-known services: first those that one expects to meet on
 * most networks, then the rarer ones.  The choice and its order are judgement,
 * from general knowledge of what such services use; nothing was measured, and
 * no list of anybody's was taken over.
 */
/* clang-format off */
static const uint16_t tcp[] = {
	/* web, shell, mail, names, files, screens */
	80, 443, 22, 21, 25, 53, 23, 110, 143, 445, 139, 135, 3389, 8080, 993,
	995, 587, 465, 8443, 5900, 111, 2049, 389, 636, 88, 548, 631, 9100, 515,
	/* databases, caches, queues, search */
	3306, 5432, 1433, 1521, 6379, 27017, 11211, 9200, 5672, 1883, 8883, 9092,
	2181, 5984, 9042, 8086, 50000, 3050, 7474, 7687, 9300, 27018, 33060,
	/* where web services that are not the first end up */
	8000, 8888, 3000, 5000, 8081, 9000, 9090, 8008, 8082, 8088, 8090, 81, 82,
	8083, 8089, 8001, 8002, 9443, 10443, 4443, 8444, 8880, 7001, 7002, 4848,
	9001, 9091, 18080, 4000, 5001, 7000, 9999, 10000, 20000, 3001, 5173,
	/* networks: telephony, tunnels, proxies, routing, management */
	5060, 5061, 1723, 179, 3128, 1080, 8118, 9050, 1194, 1701, 1720, 853, 49,
	4786, 8291, 8728, 2000, 161, 199, 623, 264, 500, 646, 7547, 3478, 5349,
	/* containers, orchestration, configuration, monitoring, backup */
	2375, 2376, 6443, 10250, 2379, 2380, 10255, 8500, 8200, 8300, 4505, 4506,
	8140, 9093, 9115, 5601, 5044, 5666, 10050, 10051, 24007, 6514, 514, 9102,
	9103, 4646, 4369, 15672, 25672, 5671, 61616, 8161, 9418, 3690, 2401, 873,
	/* Windows and directories */
	3268, 3269, 464, 593, 5985, 5986, 5357, 1434, 137, 2383, 49152, 49153,
	49154, 49155, 49156, 49157, 1688, 8530, 8531,
	/* remote control */
	5901, 5902, 5800, 5631, 5938, 4899, 2222, 2323, 512, 513, 6000, 6001, 992,
	16992, 16993, 902, 8006,
	/* hosting panels, chat, news, version control of mail */
	2082, 2083, 2086, 2087, 2095, 2096, 5222, 5223, 5269, 5280, 6667, 6697,
	6660, 194, 119, 563, 2525, 4190, 24, 106, 109, 220, 989, 990, 20,
	/* media, things, industry */
	554, 8554, 1935, 7070, 32400, 8096, 8123, 8009, 6600, 37777, 34567, 5555,
	62078, 502, 102, 44818, 47808, 4840, 2404, 1911, 789,
	/* storage and clusters */
	3260, 860, 2377, 7946, 6789, 6800, 50070, 50075, 9870, 8020, 7077, 8042,
	7199, 9160, 11434, 26379, 16379, 28017, 8091, 8098, 1414, 1352, 1099,
	/* old ones of TCP/IP itself */
	79, 113, 70, 7, 9, 13, 17, 19, 37, 11, 15, 42, 43, 95, 99, 117, 210, 540,
	543, 544, 1, 4444, 3299, 3632, 6566, 2628, 10001, 17500, 22000, 8384,
	51413, 6881, 9981, 25565, 27015, 64738, 8333, 8332, 30303, 18081, 6346,
};

static const uint16_t udp[] = {
	/* names, time, addresses, management, discovery */
	53, 123, 161, 67, 137, 5353, 1900, 138, 68, 500, 4500, 69, 514, 111, 2049,
	5355, 3702, 162, 520, 631, 427, 389, 88, 464, 443, 623, 1434, 10001,
	/* tunnels, telephony, authentication */
	1194, 51820, 1701, 4789, 8472, 6081, 41641, 5060, 3478, 3479, 5349, 5061,
	1812, 1813, 1645, 1646, 3799, 49, 2123, 2152, 4569, 2427, 2727, 1719,
	1718, 5004, 5005, 5246, 5247, 5351, 5350, 3544, 9993,
	/* storage, remote control, databases */
	11211, 135, 139, 445, 3389, 177, 1604, 5632, 3283, 5093, 2302, 407, 5631,
	1433, 10080, 7001, 6771, 17500, 548,
	/* flows, metrics, logs */
	2055, 4739, 6343, 9995, 9996, 8125, 12201, 8649, 25826, 6514,
	/* things and industry */
	5683, 5684, 47808, 44818, 2222, 34964, 20000, 17185, 30718, 37810, 48899,
	3671, 38899, 56700, 9999, 6454, 5568, 8883,
	/* games and peers */
	27015, 27016, 27017, 27960, 26000, 28960, 25565, 19132, 7777, 9987, 64738,
	6881, 51413, 30303, 4672, 4665, 8767, 34197, 16261, 2456,
	/* old ones of TCP/IP itself, and routing */
	7, 9, 13, 17, 19, 37, 42, 513, 517, 518, 521, 546, 547, 749, 750, 319,
	320, 3784, 3785, 646, 698, 1985, 3222, 5678,
};
/* clang-format on */

/* How much a port counts, and the lower ones more among equals. */
static uint64_t key_of(uint64_t weight, unsigned port)
{
	return weight << 16 | (PORTS - 1 - port);
}

static unsigned port_of(uint64_t key)
{
	return PORTS - 1 - (unsigned)(key & (PORTS - 1));
}

static int compare_down(const void *a, const void *b)
{
	const uint64_t ka = *(const uint64_t *)a, kb = *(const uint64_t *)b;

	return (ka < kb) - (ka > kb);
}

/* The part of 1 that "0.001995" is, in billionths; not by strtod(3), which goes
 * by the locale.
 */
static uint64_t scan_frequency(const char *s)
{
	uint64_t sum = 0, unit = 1000000000;

	for (; *s >= '0' && *s <= '9'; s++)
		sum += (uint64_t)(*s - '0') * unit; /* one digit, 0 or 1 */
	if (*s++ != '.')
		return sum;
	for (; *s >= '0' && *s <= '9' && unit > 1; s++) {
		unit /= 10;
		sum += (uint64_t)(*s - '0') * unit;
	}
	return sum;
}

/* A line says NAME<TAB>PORT/PROTO<TAB>FREQUENCY, and more that does not matter
 * here.  Returns the weight, or 0.
 */
static uint64_t scan_line(const char *line, const char *proto, unsigned *port)
{
	const char *tab = strchr(line, '\t');
	unsigned long number;
	char *end;

	if (line[0] == '#' || !tab)
		return 0;
	number = strtoul(tab + 1, &end, 10);
	if (number == 0 || number >= PORTS || strncmp(end, proto, 5) != 0)
		return 0;
	*port = (unsigned)number;
	return scan_frequency(end + 5);
}

/* False if FILE says nothing of PROTO, or cannot be read to its end. */
static bool weigh_by_file(uint64_t *keys, const char *file,
			  enum cleat_proto proto)
{
	FILE *f = fopen(file, "re");
	bool has_some = false, is_start = true;
	char line[512];

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		unsigned port = 0;
		const uint64_t weight = scan_line(
			line, proto == CLEAT_UDP ? "/udp\t" : "/tcp\t", &port);

		/* Of a long line only the first piece is looked at. */
		if (is_start && weight > 0) {
			keys[port] = key_of(weight, port);
			has_some = true;
		}
		is_start = strchr(line, '\n') != NULL;
	}
	has_some = has_some && !ferror(f);
	(void)fclose(f); /* it was only read */
	return has_some;
}

static void weigh_by_list(uint64_t *keys, const uint16_t *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		keys[list[i]] = key_of(n - i, list[i]);
}

static void weigh_equally(uint64_t *keys)
{
	for (unsigned port = 0; port < PORTS; port++)
		keys[port] = key_of(0, port);
}

static const char *weigh(uint64_t *keys, const char *file,
			 enum cleat_proto proto)
{
	weigh_equally(keys);
	if (weigh_by_file(keys, file, proto))
		return "frequencies measured by nmap, from its nmap-services";
	weigh_equally(keys);
	if (proto == CLEAT_UDP)
		weigh_by_list(keys, udp, sizeof(udp) / sizeof(udp[0]));
	else
		weigh_by_list(keys, tcp, sizeof(tcp) / sizeof(tcp[0]));
	return "a list of well-known services, then the lowest ports; not "
	       "measured";
}

int cleat__ports_add_top(struct cleat_ports *p, unsigned n,
			 enum cleat_proto proto, const char *file,
			 const char **basis)
{
	uint64_t *keys;
	const char *by;

	if (n == 0 || n >= PORTS)
		return cleat__fail(-ERANGE, "top ports", NULL,
				   "from 1 to 65535 of them");
	keys = malloc(PORTS * sizeof(keys[0]));
	if (!keys)
		return cleat__fail(-ENOMEM, "top ports", NULL, NULL);
	by = weigh(keys, file, proto);
	/* All but port 0, which nothing can listen on. */
	qsort(keys + 1, PORTS - 1, sizeof(keys[0]), compare_down);
	for (unsigned i = 1; i <= n; i++) {
		const unsigned port = port_of(keys[i]);

		p->bits[port / 64] |= UINT64_C(1) << port % 64;
	}
	free(keys);
	if (basis)
		*basis = by;
	return 0;
}

int cleat_ports_add_top(struct cleat_ports *p, unsigned n,
			enum cleat_proto proto, const char **basis)
{
	return cleat__ports_add_top(p, n, proto, NMAP_SERVICES, basis);
}
