.PHONY: test test-full test-faults bench check features lock

test:   ## everything, from nothing: environment, Docker engine, images, RabbitMQ, all tests
	@tools/test.sh

test-full: ## what is slow: LibreOffice, and the fleet's build and run
	@tools/test.sh --full

test-faults: ## faults of every kind, on real processes: half an hour
	@tools/test.sh --faults

bench:  ## how fast it is, beside docker run and others: 40 minutes; ARGS="--quick", ARGS="--only warm_p50 --rounds 3"
	@tools/bench.sh $(ARGS)

check:  ## style, types and unit tests: seconds
	@tools/check.sh

features: ## write docs/features.md and docs/faults.md anew from tests/features.py
	@.venv/bin/python -m tests.features --write

lock:   ## write the requirement locks anew from pyproject.toml
	@tools/lock.sh
