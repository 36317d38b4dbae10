"""Measurements that anyone can repeat: `python -m benchmarks`. `README.md` beside this says what they mean."""
