/* SPDX-License-Identifier: MIT */
#include "fiber/symbol.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "base/sys.h"

struct file {
	const char *at;
	size_t size;
};

static const void *part(const struct file *f, size_t from, size_t len)
{
	return from <= f->size && len <= f->size - from ? f->at + from : NULL;
}

/* As dladdr(3) has it the program's own path may be a bare word. */
static const char *real_path(const char *path, const void *base)
{
	uintptr_t headers = getauxval(AT_PHDR);

	return headers - (uintptr_t)base < 4096 ? "/proc/self/exe" : path;
}

static bool map(struct file *f, const char *path)
{
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY);
	long long size = fd < 0 ? fd : sys_size(fd);
	void *at = MAP_FAILED;

	if (size > 0)
		at = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		sys_close(fd);
	*f = (struct file){ at, (size_t)size };
	return at != MAP_FAILED;
}

static const char *find_in(const struct file *f, const ElfW(Shdr) * table,
			   const ElfW(Shdr) * names, uintptr_t value)
{
	const ElfW(Sym) *s = part(f, table->sh_offset, table->sh_size);
	const char *text = part(f, names->sh_offset, names->sh_size);

	for (size_t i = 0; s && text && i < table->sh_size / sizeof(*s); i++) {
		if ((s[i].st_info & 0xf) == STT_FUNC &&
		    value - s[i].st_value < s[i].st_size &&
		    s[i].st_name < names->sh_size)
			return text + s[i].st_name;
	}
	return NULL;
}

static const char *find(const struct file *f, uintptr_t code, uintptr_t base)
{
	const ElfW(Ehdr) *e = part(f, 0, sizeof(*e));
	const ElfW(Shdr) * s;

	if (!e || memcmp(e->e_ident, ELFMAG, SELFMAG) != 0)
		return NULL;
	s = part(f, e->e_shoff, e->e_shnum * sizeof(*s));
	for (size_t i = 0; s && i < e->e_shnum; i++) {
		if (s[i].sh_type == SHT_SYMTAB && s[i].sh_link < e->e_shnum)
			return find_in(f, &s[i], &s[s[i].sh_link],
				       e->e_type == ET_EXEC ? code
							    : code - base);
	}
	return NULL;
}

const char *cleat__symbol(const void *code, const char *path, const void *base)
{
	struct file f;

	if (!path || !map(&f, real_path(path, base)))
		return NULL;
	return find(&f, (uintptr_t)code, (uintptr_t)base);
}
