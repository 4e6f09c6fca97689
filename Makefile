# What a developer runs. `make demo` and `make test` work in a fresh clone on a machine with Debian's packages and Rust.
.DEFAULT_GOAL := help
CARGO ?= cargo
DEMO_PROMPT ?= Once upon a time, in a village by the sea,

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib

.PHONY: help demo test test-all test-cuda cuda-bundle cuda-builtin bench lint install abi-baseline setup

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo:  ## install what is missing, build, fetch SmolLM2-135M-Instruct (98 MB), print text that it generates
	@scripts/setup
	@$(CARGO) build --release
	@scripts/fetch-models --default
	@echo oribi run -p \"$(DEMO_PROMPT)\" -n 64 --temp 0 -v
	@$(CARGO) run --release --quiet -- run -p "$(DEMO_PROMPT)" -n 64 --temp 0 -v

test:  ## formatting, lints, documentation, every test, the kernels under sanitizers; ends with a count
	@scripts/setup --tests
	@scripts/fetch-models --vocab
	@scripts/run-tests

test-all:  ## the same with the slow matrices, the Arm kernels under qemu, and minutes of fuzzing
	@ORIBI_TEST_ALL=1 scripts/setup --tests
	@scripts/fetch-models --vocab
	@ORIBI_TEST_ALL=1 scripts/run-tests --fuzz 150

test-cuda:  ## the tests of the CUDA backend on this machine's NVIDIA GPU; says so where there is none
	@scripts/test-cuda --gpu

cuda-bundle:  ## pack those tests into one file for a GPU machine without Rust, target/oribi-cuda-tests.tar.gz
	@scripts/cuda-bundle

cuda-builtin:  ## make the code of the CUDA kernels that is built into the library, kernels/cuda/builtin.ptx.zst
	@scripts/setup --tests
	@scripts/test-kernels-cuda --write

bench:  ## speed, alternating with a peer in one run; writes a table to benches/results/
	@scripts/setup
	@$(CARGO) build --release
	@scripts/fetch-models
	@benches/peers/compare

lint:  ## formatting, clippy and documentation, without a warning
	@scripts/run-tests --lint-only

install:  ## build for release and install library, header, pkg-config and CMake files, program; PREFIX= LIBDIR= DESTDIR=
	@scripts/install --prefix "$(PREFIX)" --libdir "$(LIBDIR)" --destdir "$(DESTDIR)" --built "$(BUILT)"

abi-baseline:  ## record the binary interface of include/oribi.h, which later ones are compared with
	@scripts/abi-baseline

setup:  ## install what the build and the tests need
	@scripts/setup --tests
