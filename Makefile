# SPDX-License-Identifier: MIT
# A thin front to meson and ninja; the work is described in meson.build.
BUILD ?= build
MAKEFLAGS += --no-print-directory

all: $(BUILD)/build.ninja ## build everything into build/, the tool as build/cleat
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@command -v meson ninja >/dev/null || \
		{ echo "make: no meson or ninja; 'scripts/deps' installs them" >&2; exit 1; }
	@meson setup $(BUILD) >/dev/null || meson setup $(BUILD)

run: ## install what is missing, build, and serve echo on 127.0.0.1:35555
	@scripts/deps
	@$(MAKE) all
	@exec $(BUILD)/cleat serve echo 127.0.0.1:35555

test: ## install what is missing, build, and run the tests
	@scripts/deps test
	@$(MAKE) $(BUILD)/with-tests
	@$(MAKE) all
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs

bench: ## install the peers, and print the benchmark's table
	@scripts/deps bench
	@$(MAKE) $(BUILD)/with-bench
	@ninja -C $(BUILD) --quiet all bench-programs
	@python3 bench/run.py $(BUILD)

# What has just been installed is looked for again by the reconfiguration.
$(BUILD)/with-%: | $(BUILD)/build.ninja
	@meson setup --reconfigure -D$*=true $(BUILD) >/dev/null
	@touch $@

fuzz: ## fuzz each target for SECONDS (60), from the corpus on
	@scripts/deps fuzz
	@scripts/fuzz build-fuzz $(or $(SECONDS),60)

install: all ## install; PREFIX and DESTDIR as ever
	@$(if $(PREFIX),meson configure $(BUILD) --prefix=$(abspath $(PREFIX)))
	@meson install -C $(BUILD) --quiet $(if $(DESTDIR),--destdir=$(abspath $(DESTDIR)))

C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

format: ## format the C files in place
	@clang-format-14 -i $(C_FILES)

check-format: ## complain of badly formatted C files
	@clang-format-14 --dry-run -Werror $(C_FILES)

tidy: ## clang-tidy over src/ and cmd/
	@scripts/tidy build-tidy

clean: ## remove what was built
	@rm -rf $(BUILD) build-*

help: ## this text
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

.PHONY: all run test bench fuzz install format check-format tidy clean help
