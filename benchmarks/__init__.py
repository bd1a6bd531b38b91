"""Speed beside peers. `make bench`, or `python -m benchmarks [PART OF A NAME]`."""
