/* SPDX-License-Identifier: MIT */
/* How the latencies are spread: in bars, and as a file of percentiles. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include <cleat/error.h>

#include "answer.h"
#include "bench.h"
#include "out.h"

enum {
	ROWS = 12,
	BAR_MAX = 50,
	DECADE = 24,
};

/* The I-th of the numbers that divide each decade evenly (IEC 60063, E24), from
 * 1 ns on; every second of them is E12, and so on. */
static uint64_t round_number(unsigned i)
{
	static const unsigned char e24[DECADE] = {
		10, 11, 12, 13, 15, 16, 18, 20, 22, 24, 27, 30,
		33, 36, 39, 43, 47, 51, 56, 62, 68, 75, 82, 91,
	};
	uint64_t n = e24[i % DECADE];

	for (unsigned d = i / DECADE; d > 0; d--)
		n *= 10;
	return n / 10;
}

/* The first of these, STEP apart, that is no less than VALUE. */
static unsigned round_up(uint64_t value, unsigned step)
{
	unsigned i = 0;

	while (round_number(i) < value && i < 14 * DECADE)
		i += step;
	return i;
}

/* So that the bulk of them, FROM to TO, is in ROWS at most. */
static unsigned choose_step(uint64_t from, uint64_t to)
{
	static const unsigned steps[] = { 1, 2, 4, 8 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const unsigned step = steps[i];

		if (round_up(to, step) - round_up(from, step) < ROWS * step)
			return step;
	}
	return DECADE;
}

/* TOP 0: all that are above the row before. */
static void print_row(uint64_t top, double share, double widest)
{
	const size_t width = answer_width();
	const double room = width < BAR_MAX + 24 ? (double)width - 24 : BAR_MAX;
	char label[BENCH_NUMBER_MAX] = "more";
	int bar = (int)(share / widest * room + 0.5);

	if (top > 0)
		bench_put_time(label, (double)top / 1e3);
	(void)printf("  %s%8s %7.3f%%", top > 0 ? "<=" : "  ", label,
		     100 * share);
	if (bar > 0)
		(void)putchar(' ');
	for (; bar > 0; bar--)
		(void)putchar('#');
	(void)putchar('\n');
}

void bench_plot(const struct histogram *h)
{
	const uint64_t bulk = histogram_at(h, 0.999);
	const unsigned step = choose_step(h->least, bulk);
	const unsigned first = round_up(h->least, step);
	const unsigned last = round_up(bulk, step);
	double shares[ROWS + 1] = { 0 }, widest = 0;
	uint64_t before = 0;
	unsigned rows = 0;

	for (unsigned i = first; i <= last && rows < ROWS; i += step) {
		const uint64_t n = histogram_up_to(h, round_number(i));

		shares[rows] = (double)(n - before) / (double)h->n;
		widest = fmax(widest, shares[rows++]);
		before = n;
	}
	for (unsigned i = 0; i < rows; i++)
		print_row(round_number(first + i * step), shares[i], widest);
	if (before < h->n)
		print_row(0, (double)(h->n - before) / (double)h->n, widest);
}

/* Five steps to halve what is left, and again. */
static double next_level(double level)
{
	const double half = exp2(floor(log2(1 / (1 - level))) + 1);

	return level + 1 / (5 * half);
}

static void put_percentiles(FILE *f, const struct histogram *h)
{
	uint64_t below = 0;

	(void)fprintf(f, "%12s %14s %10s %14s\n\n", "Value", "Percentile",
		      "TotalCount", "1/(1-Percentile)");
	for (double at = 0; below < h->n; at = next_level(at)) {
		const uint64_t value = histogram_at(h, at);

		below = histogram_up_to(h, value);
		if (below == h->n)
			break;
		(void)fprintf(f, "%12.3f %2.12f %10llu %14.2f\n",
			      (double)value / 1e3, at,
			      (unsigned long long)below, 1 / (1 - at));
	}
	(void)fprintf(f, "%12.3f %2.12f %10llu\n", (double)h->most / 1e3, 1.0,
		      (unsigned long long)h->n);
	(void)fprintf(f, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
		      histogram_mean(h) / 1e3, histogram_deviation(h) / 1e3);
	(void)fprintf(f, "#[Max     = %12.3f, Total count    = %12llu]\n",
		      (double)h->most / 1e3, (unsigned long long)h->n);
	(void)fprintf(f, "#[Buckets = %12d, SubBuckets     = %12d]\n",
		      HISTOGRAM_SLOTS / HISTOGRAM_HALF, 2 * HISTOGRAM_HALF);
}

FILE *bench_hdr_open(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (!f)
		complain("bench", "--hdr %s: %s", path, cleat_strerror(errno));
	if (!f && fd >= 0)
		(void)close(fd);
	return f;
}

int bench_hdr(const struct histogram *h, FILE *f, const char *path)
{
	struct out o = { f, 0 };

	if (ftruncate(fileno(f), 0) < 0 && errno != EINVAL) /* a pipe: EINVAL */
		o.error = -errno;
	put_percentiles(f, h);
	return out_end(&o, "bench", path) == 0 ? 0 : -1;
}
