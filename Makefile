# Ringside: `make run` opens the console on a demo guest, `make test` runs every test.
PACKAGES = libncurses-dev libzydis-dev libelf-dev libxxhash-dev zlib1g-dev liblz4-dev liblzma-dev libzstd-dev
BENCH_PACKAGES = bochs qemu-system-x86 grub-pc-bin grub-common xorriso mtools
SWIFT_FLAGS = -c release
GUEST ?=
HOSTILE ?=

.PHONY: run build build-tests test test-long hostile bench vectors pictures man deps

# Installs what is missing; says so, and does nothing where all is there.
deps:
	@command -v swift >/dev/null || { echo "Swift 6.3 is needed: https://www.swift.org/install/linux"; exit 1; }
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { \
	  echo "installing $(PACKAGES)"; \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q >/dev/null && apt-get install -y -q $(PACKAGES) >/dev/null; \
	  else sudo apt-get update -q >/dev/null && sudo apt-get install -y -q $(PACKAGES) >/dev/null; fi; }

build: deps
	swift build $(SWIFT_FLAGS)

run: build
	.build/release/ringside $(GUEST)

# One build for the program and its tests: "swift test" alone would compile everything again for @testable
# imports, which no test has.
build-tests: deps
	swift build $(SWIFT_FLAGS) --build-tests

test: build-tests
	swift test $(SWIFT_FLAGS) --skip-build

# The long campaigns: a million instruction sequences against the host's processor, hostile guests, and drivers of disks.
test-long: build-tests
	RINGSIDE_CAMPAIGN=1000000 RINGSIDE_HYPERCALLS=1000000 swift test $(SWIFT_FLAGS) --skip-build
	.build/release/hostile $(HOSTILE)
	.build/release/hostile --only disks --seed 2 --count 20000

# 10,000 random programs in every mode, 10,000 mutated images and as many drivers of disks: make hostile HOSTILE='--seed 2 --only long64'
hostile: build
	.build/release/hostile $(HOSTILE)

# BENCH_GUEST=PATH measures another guest with the same output format.
bench: build
	@dpkg -s $(BENCH_PACKAGES) >/dev/null 2>&1 || echo "for the peers: apt-get install $(BENCH_PACKAGES)"
	.build/release/bench

# Draws anew the screens in the documents, from the program itself.
pictures: build
	.build/release/ringside pictures README.md Samples/tutorial.md

# The manual page; man -l .build/ringside.1 shows it.
man: build
	.build/release/ringside man >.build/ringside.1

# make vectors DIR=PATH runs a folder of MOO single-instruction tests.
vectors: build
	.build/release/vectors $(DIR)
