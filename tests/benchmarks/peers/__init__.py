"""What we compare with. Each is a program of its own, as its documentation would have it; ours too, so that all are equal.

``python -m tests.benchmarks.peers.NAME`` is its sender, which obeys :mod:`tests.benchmarks.peers.sending`. Its worker is
started as the peer's own command line does it; without one, by the same module with the word ``worker``. ``BENCH_AMQP_URL`` is
the address of RabbitMQ.
"""
