.PHONY: test check lock

test:   ## everything, from nothing: environment, Docker engine, images, RabbitMQ, all tests
	@tools/test.sh

check:  ## style, types and unit tests: seconds
	@tools/check.sh

lock:   ## write the requirement locks anew from pyproject.toml
	@tools/lock.sh
