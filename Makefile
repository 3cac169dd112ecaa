# Ringside: `make run` opens the console on a demo guest, `make test` runs every test.
.PHONY: run build test test-long bench vectors deps
PACKAGES = libncurses-dev libzydis-dev libelf-dev libxxhash-dev
SWIFT_FLAGS = -c release

deps:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { echo "installing $(PACKAGES)"; apt-get update -q >/dev/null && apt-get install -y -q $(PACKAGES) >/dev/null; }

build: deps
	swift build $(SWIFT_FLAGS)

run: build
	.build/release/ringside

test: deps
	swift build $(SWIFT_FLAGS)
	swift test $(SWIFT_FLAGS)
