#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make install` leaves is whole: a program is built against it, shared
and static, through pkg-config alone, and runs; the completions complete."""
import os
import pathlib
import re
import tempfile
import unittest

from support import BUILD, Program, run, tool

SOURCE = pathlib.Path(os.environ["CLEAT_SOURCE"])
CC = os.environ["CC"].split()
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror"]

# It says something to itself, on fibers.
PROGRAM = r"""
#include <cleat.h>
#include <stdio.h>

static void greet(void *arg)
{
	struct cleat_listener *l = arg;
	struct cleat_conn *c = NULL;

	if (cleat_accept(l, &c, cleat_in(5 * CLEAT_SEC)) == 0)
		(void)cleat_send(c, "hello\n", 6, cleat_in(5 * CLEAT_SEC));
	cleat_close(c);
}

static void start(void *arg)
{
	struct cleat_listener *l = NULL;
	struct cleat_scope *s = NULL;
	struct cleat_conn *c = NULL;
	struct cleat_sockaddr at;
	char addr[CLEAT_ADDR_MAX], line[16];
	ssize_t n = -1;

	if (cleat_listen(&l, "127.0.0.1:0", NULL) == 0 &&
	    cleat_listener_local(l, 0, &at) == 0 &&
	    cleat_sockaddr_format(&at, addr, sizeof(addr)) > 0 &&
	    cleat_scope_open(&s, 0) == 0 &&
	    cleat_go(s, greet, l, CLEAT_FOREVER) == 0 &&
	    cleat_connect(&c, addr, NULL, cleat_in(5 * CLEAT_SEC)) == 0)
		n = cleat_recv_until(c, line, sizeof(line), "\n", 1,
				     cleat_in(5 * CLEAT_SEC));
	if (n > 0)
		printf("%.*s", (int)n, line);
	else
		fprintf(stderr, "%s\n", cleat_why());
	cleat_close(c);
	cleat_scope_close(s);
	cleat_unlisten(l);
	*(int *)arg = n > 0;
}

int main(void)
{
	int done = 0;

	return cleat_run(start, &done, NULL) != 0 || !done;
}
"""


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temp = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temp.cleanup)
        cls.root = pathlib.Path(cls.temp.name)
        cls.run_ok("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet",
                   "--destdir", cls.root)
        cls.prefix = cls.one("**/bin/cleat").parent.parent
        cls.lib = cls.one("**/libcleat.a").parent

    @staticmethod
    def run_ok(*argv, **options):
        p = run(*argv, **options)
        assert p.returncode == 0, f"{argv}: {p.returncode}\n{p.stderr}"
        return p.stdout

    @classmethod
    def one(cls, pattern):
        found = list(cls.root.glob(pattern))
        assert len(found) == 1, f"{pattern}: {found}"
        return found[0]

    def pkg_config(self, *args):
        return self.run_ok("pkg-config", *args, "cleat", env=dict(
            os.environ, PKG_CONFIG_SYSROOT_DIR=str(self.root),
            PKG_CONFIG_LIBDIR=str(self.lib / "pkgconfig"))).split()

    def build(self, name, text, *flags):
        source, program = self.root / f"{name}.c", self.root / name
        source.write_text(text)
        self.run_ok(*CC, *FLAGS, source, "-o", program, *flags)
        return program

    def test_shared(self):
        program = self.build("shared", PROGRAM,
                             *self.pkg_config("--cflags", "--libs"))
        env = dict(os.environ, LD_LIBRARY_PATH=str(self.lib))
        self.assertIn("libcleat.so.0", self.run_ok("ldd", program, env=env))
        self.assertEqual(self.run_ok(program, env=env), "hello\n")

    def static(self):
        """Flags for libcleat.a; of libmnl Debian has no static library."""
        flags = self.pkg_config("--static", "--cflags", "--libs")
        self.assertIn("-lcleat", flags)
        return ["-l:libcleat.a" if f == "-lcleat" else f for f in flags]

    def test_static(self):
        program = self.build("static", PROGRAM, *self.static())
        self.assertNotIn("libcleat", self.run_ok("ldd", program))
        self.assertEqual(self.run_ok(program), "hello\n")

    def test_headers(self):
        """Each header stands alone, and in strict C11."""
        for header in sorted((self.prefix / "include/cleat").glob("*.h")):
            self.build("alone", f"#include <cleat/{header.name}>\n"
                       "int main(void) { return 0; }\n", "-pedantic",
                       *self.pkg_config("--cflags"))

    def test_readme(self):
        """The README's program compiles as shown, and runs."""
        text = (SOURCE / "README.md").read_text()
        blocks = re.findall(r"^```c\n(.*?)^```", text, re.S | re.M)
        program = next(b for b in blocks if "int main(" in b)
        with Program(tool(), "serve", "echo", "127.0.0.1:0") as server:
            addr = f"127.0.0.1:{server.port}"
            program = program.replace("127.0.0.1:35555", addr)
            self.assertIn(addr, program)
            hello = self.build("hello", program, *self.static())
            self.assertEqual(self.run_ok(hello), "hello\n")

    def test_tree(self):
        for here, there in (("include/cleat/*.h", "include/cleat/*.h"),
                            ("man/*.[1-8]", "share/man/man*/*.[1-8]")):
            self.assertEqual({p.name for p in SOURCE.glob(here)},
                             {p.name for p in self.prefix.glob(there)})
        for name in ("zsh/site-functions/_cleat",
                     "fish/vendor_completions.d/cleat.fish"):
            self.assertTrue((self.prefix / "share" / name).is_file(), name)

    def complete(self, *words):
        script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
                  '_cleat; printf "%s\\n" "${COMPREPLY[@]}"')
        file = self.prefix / "share/bash-completion/completions/cleat"
        path = f"{self.prefix / 'bin'}:{os.environ['PATH']}"
        return self.run_ok("bash", "-c", script, "bash", file, *words,
                           env=dict(os.environ, PATH=path)).split()

    def test_completion(self):
        self.assertEqual(self.complete("cleat", "che"), ["check"])
        self.assertIn("connect", self.complete("cleat", ""))
        self.assertEqual(self.complete("cleat", "check", "--wa"), ["--wait"])
        self.assertIn("-w", self.complete("cleat", "check", "-"))


if __name__ == "__main__":
    unittest.main()
