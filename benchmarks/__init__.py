"""Measurements that everybody can repeat: `python -m benchmarks`. `README.md` in this folder explains them."""
