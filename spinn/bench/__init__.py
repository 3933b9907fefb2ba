"""Benchmarks: how fast training and inference are, beside the machine's limit and beside what others would run.

Each prints what it measured and nothing else; a target that is missed is printed as missed.
"""
