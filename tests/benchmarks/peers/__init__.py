"""What we compare with. Each is a program of its own, as its documentation would have it."""
