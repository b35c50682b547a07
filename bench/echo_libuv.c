/* SPDX-License-Identifier: MIT */
/* echo_libuv: the echo server of libuv's guide: a buffer allocated for each
 * read, and a write request that owns it until it is written. */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct write {
	uv_write_t req;
	uv_buf_t buf;
};

static void check(int err, const char *what)
{
	if (err == 0)
		return;
	fprintf(stderr, "echo_libuv: %s: %s\n", what, uv_strerror(err));
	exit(1);
}

static void *must_alloc(size_t size)
{
	void *p = malloc(size);

	check(p ? 0 : UV_ENOMEM, "malloc");
	return p;
}

static void on_close(uv_handle_t *handle)
{
	free(handle);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	*buf = uv_buf_init(must_alloc(suggested), (unsigned)suggested);
}

/* A write that failed needs no answer: the read side ends the connection. */
static void on_write(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;

	(void)status;
	free(w->buf.base);
	free(w);
}

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf)
{
	struct write *w;

	if (n > 0) {
		w = must_alloc(sizeof(*w));
		w->buf = uv_buf_init(buf->base, (unsigned)n);
		check(uv_write(&w->req, client, &w->buf, 1, on_write),
		      "uv_write");
		return;
	}
	free(buf->base);
	if (n < 0)
		uv_close((uv_handle_t *)client, on_close);
}

static void on_connection(uv_stream_t *server, int status)
{
	uv_tcp_t *client = must_alloc(sizeof(*client));

	check(status, "connection");
	check(uv_tcp_init(server->loop, client), "uv_tcp_init");
	check(uv_accept(server, (uv_stream_t *)client), "uv_accept");
	check(uv_read_start((uv_stream_t *)client, on_alloc, on_read),
	      "uv_read_start");
}

static void announce(const uv_tcp_t *server)
{
	struct sockaddr_in sa;
	int len = sizeof(sa);

	check(uv_tcp_getsockname(server, (struct sockaddr *)&sa, &len),
	      "uv_tcp_getsockname");
	fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(sa.sin_port));
}

int main(void)
{
	uv_loop_t *loop = uv_default_loop();
	struct sockaddr_in sa;
	uv_tcp_t server;

	check(uv_tcp_init(loop, &server), "uv_tcp_init");
	check(uv_ip4_addr("127.0.0.1", 0, &sa), "uv_ip4_addr");
	check(uv_tcp_bind(&server, (struct sockaddr *)&sa, 0), "uv_tcp_bind");
	check(uv_listen((uv_stream_t *)&server, SOMAXCONN, on_connection),
	      "uv_listen");
	announce(&server);
	return uv_run(loop, UV_RUN_DEFAULT);
}
