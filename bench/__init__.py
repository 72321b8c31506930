"""One file per question; `python -m bench` asks them all. docs/benchmarks.md has the method and the answers."""
